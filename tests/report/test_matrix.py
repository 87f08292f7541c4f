from dataclasses import replace

import pytest

from quatrain.report.matrix import build_matrix, matrix_columns, measured
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table


@pytest.fixture
def table(matrix_store):
    return build_table(load_runs(matrix_store))


def test_groups_with_the_same_cells_make_a_matrix(table):
    matrix = build_matrix(table)
    assert (matrix.cells, matrix.groups) == (("0001", "0010"), ("near", "far"))
    assert matrix.rows["0010", "near"].expected.bounds == "≤ 25"


def test_other_studies_have_none(table, store):
    assert build_matrix(build_table(load_runs(store))) is None
    assert build_matrix(replace(table, rows=table.rows[:3])) is None
    assert build_matrix(replace(table, rows=table.rows[:2])) is None


def test_the_matrix_shows_measured_and_expected_and_what_is_against(table):
    cell, near, far = matrix_columns(build_matrix(table))
    assert cell.texts == ("0001", "0010")
    assert near.texts == ("99.0 (≥ 95)", "40.0 (≤ 25, not met)")
    assert far.texts == ("12.0", "– (≥ 95)")
    assert near.values == (99.0, 40.0)


def test_what_has_not_run_has_no_number(table):
    assert [measured(row, "accuracy") for row in table.rows] == ["99.0", "40.0", "12.0", "–"]
