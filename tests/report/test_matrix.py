from dataclasses import replace

from quatrain.report.matrix import build_matrix, format_mean, matrix_columns


def test_groups_with_the_same_cells_form_a_matrix(matrix_report):
    matrix = matrix_report.matrix
    assert (matrix.cells, matrix.groups) == (("0001", "0010"), ("near", "far"))
    assert matrix.rows["0010", "near"].expected.bounds == "≤ 25"


def test_other_studies_have_no_matrix(matrix_report, report):
    table = matrix_report.table
    assert report.matrix is None
    assert build_matrix(replace(table, rows=table.rows[:3])) is None
    assert build_matrix(replace(table, rows=table.rows[:2])) is None


def test_columns_have_measured_and_expected_values(matrix_report):
    cell, near, far = matrix_columns(matrix_report.matrix)
    assert cell.texts == ("0001", "0010")
    assert near.texts == ("99.0 (≥ 95)", "40.0 (≤ 25, not met)")
    assert far.texts == ("12.0", "– (≥ 95)")
    assert near.values == (99.0, 40.0)


def test_unfinished_cells_have_no_number(matrix_report):
    texts = [format_mean(row, "accuracy") for row in matrix_report.table.rows]
    assert texts == ["99.0", "40.0", "12.0", "–"]
