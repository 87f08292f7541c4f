import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from quatrain.report.build import Report
from quatrain.report.column import Column
from quatrain.report.render import (
    UNITS,
    cell_columns,
    difference_columns,
    differences_as_json,
    format_quantity,
    markdown_page,
    rows_as_json,
    scale_of,
    to_csv,
    to_markdown,
    to_terminal,
)


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


def test_quantity_below_the_last_digit_is_an_upper_bound(report):
    quantities = {**report.table.rows[0].quantities, "peak_bytes": 0.0}
    row = replace(report.table.rows[0], quantities=quantities)
    columns = cell_columns(replace(report.table, rows=(row,)))
    assert {column.header: column.texts for column in columns}["memory, MiB"] == ("< 0.01",)
    assert (format_quantity(0.006, 2), format_quantity(12.0, 1)) == ("0.01", "12.0")


def test_terminal_has_mean_and_interval(report):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(to_terminal(cell_columns(report.table), report.table.title))
    console.print(to_terminal(difference_columns(report.differences), "Differences"))
    text = console.export_text()
    for part in ("31.17 ± 0.52", "1 failed, 2 absent", "+1.10 [+0.60, +1.60]"):
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
    assert "| self | 1111 − 0110 | +1.10 [+0.60, +1.60] | 3 | 0.022 | 1111 is higher |" in page
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


def test_published_differences_have_a_column_only_if_there_are_any(report):
    columns = difference_columns(report.differences)
    published = Column("published", ("–", "+0.25", "–"), (None, 0.25, None), numeric=True)
    assert columns[-1] == published
    rows = tuple(replace(row, published=None) for row in report.differences.rows)
    assert difference_columns(replace(report.differences, rows=rows)) == columns[:-1]


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
