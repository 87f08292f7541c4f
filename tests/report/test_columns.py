from dataclasses import replace

import pytest

from quatrain.report.columns import (
    MAX_STEPS,
    UNITS,
    Column,
    cell_columns,
    difference_columns,
    effect_columns,
    expectation_columns,
    format_mean,
    matrix_columns,
    number_column,
    reason_columns,
    scale_of,
    text_column,
    validation_columns,
)
from quatrain.report.curves import Curve
from quatrain.report.markdown import to_markdown


def test_text_column_is_sorted_by_its_text():
    assert text_column("cell", ["b", "a"]) == Column("cell", ("b", "a"), ("b", "a"), numeric=False)


def test_number_column_has_a_dash_for_none():
    column = number_column("n", [1.5, None], str)
    assert column == Column("n", ("1.5", "–"), (1.5, None), numeric=True)


def headers(table):
    return [column.header for column in cell_columns(table)]


@pytest.mark.parametrize(
    ("values", "quantity", "expected"),
    [
        ([8e8, None], "multiply_adds", (1e6, "M multiply-adds")),
        ([8e8, 1e9], "multiply_adds", (1e9, "G multiply-adds")),
        ([12.0], "multiply_adds", (1e6, "M multiply-adds")),
        ([None], "training_seconds", (1.0, "training, s")),
        ([7200.0], "training_seconds", (3600.0, "training, h")),
    ],
)
def test_unit_is_the_largest_that_the_largest_value_fills(values, quantity, expected):
    assert scale_of(values, UNITS[quantity]) == expected


def test_headers_name_units(report):
    assert headers(report.table) == [
        "group",
        "cell",
        "BLEU",
        "chrF",
        "seeds",
        "M multiply-adds",
        "M parameters",
        "training, min",
        "latency, ms",
        "memory, MiB",
        "state",
    ]


def test_columns_without_information_are_left_out(report):
    finished = [row for row in report.table.rows if row.state == "done"]
    unmeasured = {"latency_seconds": None, "peak_bytes": None}
    rows = [replace(row, quantities={**row.quantities, **unmeasured}) for row in finished]
    dropped = {*headers(report.table)} - {*headers(replace(report.table, rows=tuple(rows)))}
    assert dropped == {"latency, ms", "memory, MiB", "state"}


def test_memory_of_zero_is_an_upper_bound(report):
    quantities = {**report.table.rows[0].quantities, "peak_bytes": 0.0}
    row = replace(report.table.rows[0], quantities=quantities)
    columns = cell_columns(replace(report.table, rows=(row,)))
    assert {column.header: column.texts for column in columns}["memory, MiB"] == ("< 0.01",)


def test_published_differences_have_a_column_only_if_there_are_any(report):
    columns = difference_columns(report.differences)
    published = Column("published", ("–", "+0.25", "–"), (None, 0.25, None), numeric=True)
    assert columns[3] == published
    rows = tuple(
        replace(row, comparison=row.comparison.model_copy(update={"published": None}))
        for row in report.differences.rows
    )
    assert difference_columns(replace(report.differences, rows=rows)) == [
        *columns[:3],
        *columns[4:],
    ]


def test_a_lower_price_is_negative(report):
    rows = tuple(replace(row, price={"multiply_adds": -2.5e8}) for row in report.differences.rows)
    columns = {
        c.header: c.texts for c in difference_columns(replace(report.differences, rows=rows))
    }
    assert columns["M multiply-adds"] == ("-250.00",) * 3


def test_effects_have_estimate_p_and_price(grid_report):
    columns = effect_columns(grid_report.effects, "bleu")
    headers = ["group", "effect", "terms", "BLEU [95 %]", "p", "M multiply-adds"]
    assert [column.header for column in columns] == headers
    assert len(columns[0].texts) == 22
    assert columns[5].texts[2] == "+100.00"


def test_each_cell_has_bounds_and_a_verdict_if_it_is_done(matrix_report):
    expected, verdict = expectation_columns(matrix_report.table.rows)
    assert expected.texts == ("≥ 95", "≤ 25", "–", "≥ 95")
    assert verdict.texts == ("met", "not met", "–", "–")


def test_columns_appear_only_if_the_study_has_expectations(matrix_report, report):
    headers = [column.header for column in cell_columns(matrix_report.table)]
    assert headers[:5] == ["group", "cell", "accuracy", "expected", "verdict"]
    without = {column.header for column in cell_columns(report.table)}
    assert not {"expected", "verdict"} & without


def test_reasons_are_listed_for_cells_that_have_one(matrix_report):
    columns = reason_columns(matrix_report.table)
    assert [column.header for column in columns] == ["group", "cell", "accuracy", "because"]
    assert columns[3].texts[0] == "it weighs places"
    assert len(columns[0].texts) == 3


def test_columns_have_measured_and_expected_values(matrix_report):
    cell, near, far = matrix_columns(matrix_report.matrix)
    assert cell.texts == ("0001", "0010")
    assert near.texts == ("99.0 (≥ 95)", "40.0 (≤ 25, not met)")
    assert far.texts == ("12.0", "– (≥ 95)")
    assert near.values == (99.0, 40.0)


def test_unfinished_cells_have_no_number(matrix_report):
    texts = [format_mean(row, "accuracy") for row in matrix_report.table.rows]
    assert texts == ["99.0", "40.0", "12.0", "–"]


def curve(name="valid_ap50", count=3, seconds=(90.0, 150.0, 3600.0)):
    steps = tuple(100 * number for number in range(1, count + 1))
    return Curve("plain", "w/o", name, steps, tuple(step / 30 for step in steps), seconds)


def test_each_validation_is_a_row_with_minutes():
    assert to_markdown(validation_columns([curve("loss"), curve()], "ap50")).splitlines()[2:] == [
        "| plain | w/o | 100 | 1.5 | 3.33 |",
        "| plain | w/o | 200 | 2.5 | 6.67 |",
        "| plain | w/o | 300 | 60.0 | 10.00 |",
    ]


def test_many_validations_are_reduced_and_the_last_is_kept():
    steps = validation_columns([curve(count=95, seconds=())], "ap50")[2].values
    assert (len(steps), steps[-1]) == (MAX_STEPS, 9500)
    assert list(steps) == sorted(set(steps))


def test_unknown_time_is_a_dash_and_a_single_validation_has_no_row():
    assert validation_columns([curve(seconds=())], "ap50")[3].texts == ("–",) * 3
    assert validation_columns([curve(count=1), curve("loss")], "ap50") == []


def test_name_of_the_validation_is_preferred():
    shown = validation_columns([curve("bleu"), curve("valid_greedy_bleu")], "bleu")
    assert (shown[-1].header, len(shown[0].texts)) == ("valid greedy BLEU", 3)
