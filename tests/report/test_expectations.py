import json

from quatrain.report.expectations import expectation_columns, expected_as_json, reason_columns
from quatrain.report.render import cell_columns, markdown_page, rows_as_json, to_csv


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


def test_notes_count_expectations_and_name_those_not_met(matrix_report):
    count, not_met = matrix_report.table.notes[:2]
    assert count.startswith("1 of 2 ")
    assert "near, 0010: 40.00, expected ≤ 25" in not_met


def test_json_and_csv_have_bounds_verdict_and_reason(matrix_report, report):
    table = matrix_report.table
    rows = rows_as_json(table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert expected_as_json(table.rows[1]).items() <= rows[1].items()
    assert [row["as_expected"] for row in rows[:2]] == [True, False]
    assert rows[2]["because"] is None
    assert to_csv(rows).splitlines()[0].endswith("expected_low,expected_high,as_expected,because")
    assert "because" not in rows_as_json(report.table)[0]


def test_markdown_page_lists_expectations(matrix_report):
    assert "| near | 0010 | ≤ 25 | it sees a bag \\| &lt;counted> |" in markdown_page(matrix_report)
