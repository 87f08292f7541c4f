import json

import pytest

from quatrain.report.differences import build_differences
from quatrain.report.expectations import expectation_columns, expected_as_json, reason_columns
from quatrain.report.render import cell_columns, markdown_page, rows_as_json, to_csv
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table


@pytest.fixture
def table(matrix_store):
    return build_table(load_runs(matrix_store))


def test_each_cell_has_its_bounds_and_a_verdict_where_it_has_run(table):
    expected, verdict = expectation_columns(table.rows)
    assert expected.texts == ("≥ 95", "≤ 25", "–", "≥ 95")
    assert verdict.texts == ("met", "not met", "–", "–")


def test_they_stand_beside_the_primary_metric_only_where_a_study_states_any(table, store):
    headers = [column.header for column in cell_columns(table)]
    assert headers[:5] == ["group", "cell", "accuracy", "expected", "verdict"]
    silent = [column.header for column in cell_columns(build_table(load_runs(store)))]
    assert not {"expected", "verdict"} & set(silent)


def test_the_reasons_are_listed_for_the_cells_that_have_one(table):
    assert [column.header for column in reason_columns(table)] == [
        "group",
        "cell",
        "accuracy",
        "because",
    ]
    assert reason_columns(table)[3].texts[0] == "it weighs places"
    assert len(reason_columns(table)[0].texts) == 3


def test_notes_count_what_came_as_expected_and_name_what_did_not(table):
    assert table.notes[:2] == (
        "1 of 2 expectations met",
        "expectation not met: near, 0010: 40.00, expected ≤ 25 because it sees a bag | <counted>",
    )


def test_json_and_csv_hold_bounds_verdict_and_reason(table, store):
    rows = rows_as_json(table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert expected_as_json(table.rows[1]).items() <= rows[1].items()
    assert (rows[0]["as_expected"], rows[1]["as_expected"], rows[2]["because"]) == (
        True,
        False,
        None,
    )
    assert to_csv(rows).splitlines()[0].endswith("expected_low,expected_high,as_expected,because")
    assert "because" not in rows_as_json(build_table(load_runs(store)))[0]


def test_the_markdown_page_ends_with_what_was_expected_and_why(matrix_store, table):
    page = markdown_page(table, build_differences(load_runs(matrix_store)))
    assert "| near | 0010 | ≤ 25 | it sees a bag \\| &lt;counted> |" in page
    assert "- 1 of 2 expectations met" in page
