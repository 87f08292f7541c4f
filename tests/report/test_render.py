import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from quatrain.report.build import Report
from quatrain.report.columns import Column, cell_columns, difference_columns
from quatrain.report.render import (
    differences_as_json,
    markdown_page,
    rows_as_json,
    to_csv,
    to_markdown,
    to_terminal,
)


def test_terminal_has_mean_and_interval(report):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(to_terminal(cell_columns(report.table), report.table.title))
    console.print(to_terminal(difference_columns(report.differences), "Differences"))
    text = console.export_text()
    for part in ("31.17 ± 0.47", "1 failed, 2 absent", "+1.10 [+"):
        assert part in text


def test_brackets_in_names_are_not_markup():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(to_terminal([Column("[b]x", ("[red]a[/]",), ("a",), numeric=False)], "[i]t"))
    text = console.export_text()
    assert all(part in text for part in ("[b]x", "[red]a[/]", "[i]t"))


def test_markdown_keeps_its_columns_whatever_the_names():
    text = to_markdown([Column("a|b", ("x\ny|<z>",), ("x",), numeric=True)])
    assert text == "| a\\|b |\n| ---: |\n| x y\\|&lt;z> |\n"


def test_markdown_page_has_title_differences_and_notes(report):
    page = markdown_page(report)
    assert page.startswith("# Terms & &lt;translation>\n\nWhich terms")
    assert re.search(r"\| self \| 1111 − 0110 \| \+1\.10 \[[^|]*\| 3 \| 0\.\d+ \| higher \|", page)
    assert f"- {report.table.notes[0]}" in page


def test_json_and_csv_keep_every_digit_in_base_units(report):
    rows = rows_as_json(report.table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    lines = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len({tuple(row) for row in rows}) == 1
    assert [list(line) for line in lines] == [list(row) for row in rows]
    for line, row in zip(lines, rows, strict=True):
        assert line == {key: "" if value is None else str(value) for key, value in row.items()}
    assert rows[0]["multiply_adds"] == 8e8
    assert to_csv([]) == ""


def test_unknown_differences_are_null_in_json(report):
    rows = differences_as_json(report.differences)
    assert rows[2]["mean"] is None
    assert [row["seeds"] for row in rows] == [3, 3, 0]


def test_expectations_are_bounds_verdict_and_reason(matrix_report, report):
    table = matrix_report.table
    rows = rows_as_json(table)
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [row["as_expected"] for row in rows[:2]] == [True, False]
    assert rows[2]["because"] is None
    assert to_csv(rows).splitlines()[0].endswith("expected_low,expected_high,as_expected,because")
    assert "because" not in rows_as_json(report.table)[0]


def test_markdown_page_lists_expectations(matrix_report):
    assert "| near | 0010 | ≤ 25 | it sees a bag \\| &lt;counted> |" in markdown_page(matrix_report)


HOSTILE = "<b> [a](http://b) | `c` \x1b[31m # =1"


@pytest.fixture
def hostile(report):
    """A report in which every name and sentence is hostile."""
    rows = [replace(row, group="=g", cell=HOSTILE, spec_name="@s") for row in report.table.rows]
    texts = {"title": HOSTILE, "question": f"# {HOSTILE}", "notes": (f"- {HOSTILE}",)}
    copy = Report(report.study, report.full_study)
    copy.__dict__["table"] = replace(report.table, rows=tuple(rows), **texts)
    return copy


def test_text_is_not_markup_in_markdown(hostile):
    page = markdown_page(hostile)
    assert "\x1b" not in page
    assert not re.search(r"<b>|[^\\]\]\(|\w://", page)
    lines = page.splitlines()
    assert lines[0].startswith("# &lt;b> [a\\](http\\://b) \\| \\`c\\` \\\\x1b[31m # =1")
    assert lines[2].startswith("\\# &lt;b>")
    assert any(line.startswith("- \\- &lt;b>") for line in lines)


def test_text_has_no_terminal_escapes(hostile):
    console = Console(width=300, file=io.StringIO())
    console.print(to_terminal(cell_columns(hostile.table), HOSTILE))
    assert "\x1b" not in console.file.getvalue()
    assert "\\x1b[31m" in console.file.getvalue()


def test_csv_has_no_formulas_and_keeps_negative_numbers(hostile):
    rows = [{**row, "-metric": -0.5} for row in rows_as_json(hostile.table)]
    (first, *_) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert (first["group"], first["spec"]) == ("'=g", "'@s")
    assert first["'-metric"] == "-0.5"
    assert "\x1b" not in to_csv(rows)
