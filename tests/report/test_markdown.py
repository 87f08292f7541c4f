import re
from dataclasses import replace

import pytest

from quatrain.report.build import Report
from quatrain.report.columns import Column
from quatrain.report.markdown import markdown_page, to_markdown
from quatrain.report.notes import Note


def headings(page):
    return re.findall(r"^#+ (.*)$", page, re.MULTILINE)


def test_tables_keep_their_columns_whatever_the_names():
    text = to_markdown([Column("a|b", ("x\ny|<z>",), ("x",), numeric=True)])
    assert text == "| a\\|b |\n| ---: |\n| x y\\|&lt;z> |\n"


def test_page_has_title_differences_and_notes(report):
    page = markdown_page(report)
    assert page.startswith("# Terms & &lt;translation>\n\nWhich terms")
    assert re.search(
        r"\| self \| 1111 − 0110 \| \+1\.10 \[[^|]*\| – \| 3 \| 0\.\d+ \| higher \|", page
    )
    assert f"- {report.table.notes[0].text}" in page


def test_page_begins_with_what_was_found(report):
    page = markdown_page(report)
    assert headings(page)[:3] == ["Terms & &lt;translation>", "What it found", "Cells"]
    assert "- ✓ **higher** · self: 1111 has a higher BLEU than 0110: +1.10 [" in page
    assert "1 comparison is not run in a common seed yet: self (1)." in page
    assert "not run in a common seed yet." not in page.replace("yet: self (1)", "")


def test_a_study_without_comparisons_says_so(matrix_report):
    assert "The study declares no comparison." in markdown_page(matrix_report)


def test_effects_have_their_price_and_follow_the_differences(grid_report):
    page = markdown_page(grid_report)
    assert headings(page)[1:5] == ["What it found", "Cells", "Differences", "Effects of terms"]
    assert re.search(
        r"\| self \| main effect \| E3 \| \+3\.0\d \[[^|]*\| &lt; 0.001 \| \+100.00 \|", page
    )
    assert page.count("| Shapley share |") == 4
    assert page.count("| interaction |") == 6


def test_an_incomplete_grid_names_the_effects_that_it_cannot_tell(make_report):
    values = {
        ("g", terms): {s: {"bleu": 20.0 + s + 2 * (terms[0] == "1")} for s in range(2)}
        for terms in ("0000", "1000", "1111")
    }
    page = markdown_page(make_report(values, lambda terms: {"mixer": {"terms": terms}}))
    assert "g: 3 of 16 term sets have finished runs" in page
    assert "without a complete pair: E2, E3, E4," in page
    assert "| 1 of 8 |" in page


def test_notes_are_grouped_by_kind(report):
    page = markdown_page(report)
    notes = page[page.index("## Notes") :]
    assert "**Unfinished runs**\n\n- " in notes


def test_page_lists_expectations(matrix_report):
    assert "| near | 0010 | ≤ 25 | it sees a bag \\| &lt;counted> |" in markdown_page(matrix_report)


HOSTILE = "<b> [a](http://b) | `c` \x1b[31m # =1"


@pytest.fixture
def hostile(report):
    """A report in which every name and sentence of the table is hostile."""
    rows = [replace(row, group="=g", cell=HOSTILE, spec_name="@s") for row in report.table.rows]
    texts = {"title": HOSTILE, "question": f"# {HOSTILE}", "notes": (Note("Data", f"- {HOSTILE}"),)}
    copy = Report(report.study, report.full_study)
    copy.__dict__["table"] = replace(report.table, rows=tuple(rows), **texts)
    return copy


def test_text_is_not_markup(hostile):
    page = markdown_page(hostile)
    assert "\x1b" not in page
    assert not re.search(r"<b>|[^\\]\]\(|\w://", page)
    lines = page.splitlines()
    assert lines[0].startswith("# &lt;b> [a\\](http\\://b) \\| \\`c\\` \\\\x1b[31m # =1")
    assert lines[2].startswith("\\# &lt;b>")
    assert any(line.startswith("- \\- &lt;b>") for line in lines)


def test_any_name_is_text(hostile_report):
    page = markdown_page(hostile_report)
    assert not re.search(r"<script|\u202e|(?<!\\)\$x", page)
