from dataclasses import replace

import numpy as np
import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.html import html_page
from quatrain.report.page.effect_rows import build_group_effects, forests
from quatrain.results.resampling import Interval

GRID = [f"{n:04b}" for n in range(16)]


def study(tmp_path, cells):
    generator = np.random.default_rng(0)
    values = {
        ("g", cell): {
            seed: {"accuracy": 50 + 5 * (cell[1] == "1") + float(generator.normal(0, 0.1))}
            for seed in range(3)
        }
        for cell in cells
    }
    costs = {
        cell: {"multiply_adds": 1e6 * (1 + cell.count("1")), "parameters": 1.0} for cell in cells
    }
    return load_report(write_results(tmp_path, values, costs=costs))


@pytest.fixture
def complete(tmp_path):
    (effects,) = build_group_effects(study(tmp_path, GRID), "accuracy")
    return {table.title: table for table in effects.tables}, effects


def test_a_complete_grid_has_effects_simple_effects_and_shapley_shares(complete):
    tables, effects = complete
    assert [*tables] == [
        "Main effects and interactions",
        "One term added",
        "Shapley shares of 1111 − 0000",
    ]
    assert effects.remarks == ()
    factorial = tables["Main effects and interactions"]
    assert [row.name for row in factorial.rows][:5] == ["E1", "E2", "E3", "E4", "E1 × E2"]
    second = dict(zip(factorial.headers, factorial.rows[1].texts, strict=True))
    assert second["accuracy [95 %]"].startswith("+5.0")
    assert second["M multiply-adds"] == "+1.00"
    assert second["pairs"] == "8 of 8"
    assert "higher" in factorial.rows[1].drawing
    assert "share" in tables["Shapley shares of 1111 − 0000"].rows[0].drawing


def test_an_incomplete_grid_names_aliases_and_missing_effects(tmp_path):
    (effects,) = build_group_effects(study(tmp_path, ["0000", "0100", "0110"]), "accuracy")
    head, *rest = effects.remarks
    assert head.startswith("The grid is incomplete: 3 of 16 term sets")
    assert any(remark.startswith("E2 contains ") for remark in rest)
    assert "not estimated: E1, E4" in rest[-1]


def test_forests_have_the_differences_that_are_known(report):
    tables = {table.title: table for table in forests(report)}
    (row,) = tables["self"].rows
    assert row.name.striptags() == "1111 − 0110"
    assert "published" not in tables["self"].headers
    (row,) = tables["cross"].rows
    cells = dict(zip(tables["cross"].headers, row.texts, strict=True))
    assert cells["published"] == "+0.25"
    assert "M0-5 5 0 0 5-5 0z" in row.drawing
    assert row.texts[-1] == "−300.00"
    assert "thin" not in row.drawing


def test_forests_have_intervals_over_test_examples(shared_store):
    report = load_report(shared_store)
    assert "thin bars" not in html_page(report)
    first, *others = report.differences.rows
    rows = (replace(first, over_test_examples=Interval(-0.25, 2.5)), *others)
    vars(report)["differences"] = replace(report.differences, rows=rows)
    ours, other = forests(report)
    (row,) = ours.rows
    assert dict(zip(ours.headers, row.texts, strict=True))["over test sentences"] == (
        "[−0.25, +2.50]"
    )
    assert 'class="thin"' in row.drawing
    assert "over test sentences" not in other.headers
    assert "thin bars below: over test sentences" in html_page(report)
