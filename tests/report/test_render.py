import csv
import io
from dataclasses import replace

import pytest
from rich.console import Console

from quatrain.report.build import Report
from quatrain.report.columns import Column, cell_columns, difference_columns
from quatrain.report.document import rows_as_json
from quatrain.report.notes import Note
from quatrain.report.render import to_csv, to_terminal


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


def test_csv_has_a_header_and_is_empty_without_rows():
    assert to_csv([{"a": 1.5, "b": None}, {"a": 2.0, "b": "x"}]) == "a,b\n1.5,\n2.0,x\n"
    assert to_csv([]) == ""


HOSTILE = "<b> [a](http://b) | `c` \x1b[31m # =1"


@pytest.fixture
def hostile(report):
    """A report in which every name and sentence is hostile."""
    rows = [replace(row, group="=g", cell=HOSTILE, spec_name="@s") for row in report.table.rows]
    texts = {"title": HOSTILE, "question": f"# {HOSTILE}", "notes": (Note("Data", f"- {HOSTILE}"),)}
    copy = Report(report.study, report.full_study)
    copy.__dict__["table"] = replace(report.table, rows=tuple(rows), **texts)
    return copy


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
