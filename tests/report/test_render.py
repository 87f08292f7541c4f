import csv
import io
import json
import re
from dataclasses import replace

import pytest
from rich.console import Console

from quatrain.report.column import Column
from quatrain.report.differences import build_differences
from quatrain.report.render import (
    MULTIPLY_ADDS,
    TRAINING,
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
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table


@pytest.fixture
def tables(store):
    study = load_runs(store)
    return build_table(study), build_differences(study)


@pytest.mark.parametrize(
    ("values", "units", "expected"),
    [
        ([8e8, None], MULTIPLY_ADDS, (1e6, "M multiply-adds")),
        ([8e8, 1e9], MULTIPLY_ADDS, (1e9, "G multiply-adds")),
        ([12.0], MULTIPLY_ADDS, (1e6, "M multiply-adds")),
        ([None], TRAINING, (1.0, "training, s")),
        ([7200.0], TRAINING, (3600.0, "training, h")),
    ],
)
def test_the_unit_is_the_largest_that_the_largest_value_fills(values, units, expected):
    assert scale_of(values, units) == expected


def test_headers_name_units_and_unmeasured_quantities_have_no_column(tables, store):
    headers = [column.header for column in cell_columns(tables[0])]
    assert headers == [
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
    next(iter(store.root.glob("runs/*/measurement.json"))).unlink()
    again = [column.header for column in cell_columns(build_table(load_runs(store)))]
    assert again == [header for header in headers if header not in ("latency, ms", "memory, MiB")]


def test_the_state_has_a_column_only_while_something_is_not_done(tables):
    done = tuple(row for row in tables[0].rows if row.state == "done")
    assert "state" in [column.header for column in cell_columns(tables[0])]
    assert "state" not in [column.header for column in cell_columns(replace(tables[0], rows=done))]


def test_what_is_below_the_last_digit_is_told_as_a_bound(tables):
    row = replace(tables[0].rows[0], peak_bytes=0.0)
    shown = {
        column.header: column.texts for column in cell_columns(replace(tables[0], rows=(row,)))
    }
    assert shown["memory, MiB"] == ("< 0.01",)
    assert (format_quantity(0.006, 2), format_quantity(12.0, 1)) == ("0.01", "12.0")


def test_the_terminal_shows_mean_and_interval(tables):
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(to_terminal(cell_columns(tables[0]), tables[0].title))
    console.print(to_terminal(difference_columns(tables[1]), "Differences"))
    text = console.export_text()
    assert "31.17 ± 0.52" in text
    assert "1 failed, 2 absent" in text
    assert "+1.10 [+0.60, +1.60]" in text


def test_brackets_in_a_name_are_text_and_not_markup():
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(to_terminal([Column("[b]x", ("[red]a[/]",), ("a",), numeric=False)], "[i]t"))
    text = console.export_text()
    assert all(part in text for part in ("[b]x", "[red]a[/]", "[i]t"))


def test_markdown_keeps_its_columns_whatever_a_name_holds():
    text = to_markdown([Column("a|b", ("x\ny|<z>",), ("x",), numeric=True)])
    assert text == "| a\\|b |\n| ---: |\n| x y\\|&lt;z> |\n"


def test_the_markdown_page_says_what_is_missing(tables):
    page = markdown_page(*tables)
    assert page.startswith("# Terms & &lt;translation>\n\nWhich terms")
    assert "| self | 1111 − 0110 | +1.10 [+0.60, +1.60] | 3 | 0.022 | 1111 is higher |" in page
    assert "- self, w/o: of 3 runs, 1 failed, 2 absent" in page


def test_json_and_csv_keep_every_digit_in_base_units(tables):
    rows = rows_as_json(tables[0])
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    assert len({tuple(row) for row in rows}) == 1
    assert [list(row) for row in read] == [list(row) for row in rows]
    for text, row in zip(read, rows, strict=True):
        assert text == {key: "" if value is None else str(value) for key, value in row.items()}
    assert rows[0]["multiply_adds"] == 8e8


def test_differences_as_json_say_where_nothing_is_known(tables):
    rows = differences_as_json(tables[1])
    assert rows[2]["mean"] is None
    assert [row["seeds"] for row in rows] == [3, 3, 0]


def test_published_differences_stand_beside_ours_where_a_study_quotes_them(tables):
    table, differences = tables
    shown = difference_columns(differences)
    assert shown[-1] == Column("published", ("–", "+0.25", "–"), (None, 0.25, None), numeric=True)
    assert "Published: the difference reported" in markdown_page(table, differences)
    quoting_none = replace(
        differences, rows=tuple(replace(row, published=None) for row in differences.rows)
    )
    assert difference_columns(quoting_none) == shown[:-1]
    assert "Published" not in markdown_page(table, quoting_none)
    assert to_csv([]) == ""


HOSTILE = "<b> [a](http://b) | `c` \x1b[31m # =1"


@pytest.fixture
def hostile(tables):
    """The tables of a study whose every name and sentence is hostile."""
    table, differences = tables
    rows = tuple(replace(row, group="=g", cell=HOSTILE, spec_name="@s") for row in table.rows)
    texts = {"title": HOSTILE, "question": f"# {HOSTILE}", "notes": (f"- {HOSTILE}",)}
    return replace(table, rows=rows, **texts), differences


def test_no_text_of_others_is_markup_in_markdown(hostile):
    page = markdown_page(*hostile)
    assert "\x1b" not in page
    assert not re.search(r"<b>|[^\\]\]\(|\w://", page)
    lines = page.splitlines()
    assert lines[0].startswith("# &lt;b> [a\\](http\\://b) \\| \\`c\\` \\\\x1b[31m # =1")
    assert lines[2].startswith("\\# &lt;b>")
    assert any(line.startswith("- \\- &lt;b>") for line in lines)


def test_no_text_of_others_moves_the_cursor_of_a_terminal(hostile):
    console = Console(width=300, file=io.StringIO())
    console.print(to_terminal(cell_columns(hostile[0]), HOSTILE))
    assert "\x1b" not in console.file.getvalue()
    assert "\\x1b[31m" in console.file.getvalue()


def test_texts_of_a_csv_file_are_no_formulas_and_negative_numbers_stay_numbers(hostile):
    rows = [{**row, "-metric": -0.5} for row in rows_as_json(hostile[0])]
    (first, *_) = csv.DictReader(io.StringIO(to_csv(rows)))
    assert (first["group"], first["spec"]) == ("'=g", "'@s")
    assert first["'-metric"] == "-0.5"
    assert "\x1b" not in to_csv(rows)
