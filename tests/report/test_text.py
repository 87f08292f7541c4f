import csv
import io
import re
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from quatrain.report.text import (
    for_latex,
    for_markdown,
    for_spreadsheet,
    format_fixed,
    format_quantity,
    title_of,
    visible,
)

MARKDOWN = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MARKS = st.sampled_from([*"\\`*_~$|[]()<>!&#+-=:;.1aA \t\n", "http://a.b", "www.", "&lt;"])
TEXTS = st.text() | st.lists(MARKS, max_size=12).map("".join)
ANY_TEXTS = st.text(st.characters(codec=None))


def rendered(markdown):
    """The types of blocks, the types of inline content, and the visible text."""
    tokens = MARKDOWN.parse(markdown)
    inline = [child for token in tokens for child in token.children or []]
    kinds = {token.type.removesuffix("_open") for token in tokens if token.nesting != -1}
    return kinds - {"inline"}, {token.type for token in inline}, "".join(x.content for x in inline)


@given(TEXTS)
def test_markdown_shows_any_text_in_paragraphs_and_headings(text):
    words = visible(" ".join(text.split()))
    kinds = {"text"} if words else set()
    blocks = {"paragraph"} if words else set()
    assert rendered(for_markdown(text, block=True)) == (blocks, kinds, words)
    assert rendered(f"# {for_markdown(text)}") == ({"heading"}, kinds, words)


@given(TEXTS, TEXTS)
def test_markdown_shows_any_text_in_tables_and_lists(left, right):
    table = f"| {for_markdown(left)} | {for_markdown(right)} |\n| --- | --- |\n"
    words = [visible(" ".join(text.split())) for text in (left, right)]
    cells = [token.children or [] for token in MARKDOWN.parse(table) if token.type == "inline"]
    assert [[child.type for child in cell] for cell in cells if cell] == [
        ["text"] for word in words if word
    ]
    assert ["".join(child.content for child in cell) for cell in cells] == words
    _, kinds, text = rendered(f"- {for_markdown(left, block=True)}\n")
    assert (kinds <= {"text"}, text) == (True, words[0])


@pytest.mark.parametrize(
    "text",
    [
        "<script>alert(1)</script>",
        "<!-- hidden -->",
        "[click](https://example.org)",
        "![picture](https://example.org/track.png)",
        "[note]: https://example.org",
        "https://example.org",
        "www.example.org",
        "# heading",
        "1. item",
        "- item",
        "> quote",
        "---",
        "`code` ```",
        "a | b",
        "*bold* __init__ _x_ ~~gone~~",
        "&lt; &#60;",
        "$\\alpha$",
        "C#",
        "title #",
    ],
)
def test_markup_is_shown_as_text(text):
    assert rendered(for_markdown(text, block=True)) == ({"paragraph"}, {"text"}, text)


def test_names_of_cells_are_not_escaped():
    for name in ("0010+deformable", "1111 − w/o", "≥ 95", "+1.10 [+0.60, +1.60]", "valid_loss"):
        assert for_markdown(name) == name


@given(ANY_TEXTS)
def test_visible_text_can_be_stored_and_has_no_terminal_escapes(text):
    shown = visible(text)
    shown.encode()
    assert all(x in "\t\n" or x.isprintable() or ord(x) > 0x9F for x in shown)
    assert not re.search("[\u202a-\u202e\u2066-\u2069]", shown)
    assert visible(shown) == shown


@given(ANY_TEXTS)
def test_visible_text_is_valid_in_svg(text):
    escaped = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert ElementTree.fromstring(f"<text>{escaped}</text>").text == (visible(text) or None)


def test_escapes_are_those_of_python():
    assert visible("\x1b[31m \x00 \x9b \u202e \udce9 \ufffe") == (
        "\\x1b[31m \\x00 \\x9b \\u202e \\udce9 \\ufffe"
    )
    assert visible("tab\t line\n Ä 日本 😀") == "tab\t line\n Ä 日本 😀"


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", " =", "\uff1d", "\r=", "\n-"])
def test_formula_gets_an_apostrophe(start):
    field = for_spreadsheet(f"{start}1+1")
    assert field[0] == "'" or field.startswith("\\x0d")


@given(ANY_TEXTS)
def test_no_csv_field_begins_as_a_formula(text):
    line = io.StringIO()
    csv.writer(line).writerow([for_spreadsheet(text), 1])
    ((field, _),) = csv.reader(io.StringIO(line.getvalue(), newline=""))
    assert field.lstrip()[:1] not in tuple("=+-@")
    assert field.removeprefix("'") == visible(text).removeprefix("'")


@pytest.mark.parametrize(
    ("metric", "title"),
    [
        ("bleu", "BLEU"),
        ("chrf", "chrF"),
        ("test_loss", "test loss"),
        ("miou", "mIoU"),
        ("iou_background", "IoU background"),
        ("valid_ap50", "valid AP50"),
        ("ap_of_fish", "AP of fish"),
        ("ar100", "AR100"),
    ],
)
def test_title_is_the_usual_name_of_the_metric(metric, title):
    assert title_of(metric) == title


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "1.23"), (-5.0, "-5.00"), (1e100, "1e+100"), (-2.5e15, "-2.5e+15")],
)
def test_number_has_its_decimal_places_unless_it_is_astronomical(value, text):
    assert format_fixed(value, 2) == text
    assert format_fixed(abs(value), 2, "+") == f"+{text.removeprefix('-')}"


def test_quantity_below_the_last_digit_is_an_upper_bound():
    assert [format_quantity(value, 2) for value in (0.0, 0.006)] == ["< 0.01", "0.01"]
    assert format_quantity(12.0, 1) == "12.0"


LATEX = re.compile(
    r"\\uchar\{(?P<number>[0-9A-F]{4,6})\}|\\(?P<escaped>[&%$#_{}])|\\(?P<name>[a-z]+)\{\}"
    r"|\\ensuremath\{\\(?P<symbol>[a-z]+)\}|\{(?P<single>[][*])\}|(?P<empty>\{\})"
    r"|(?P<plain>[^\\{}&%$#_^~])"
)
NAMED = {
    "textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textbar": "|",
    "textless": "<", "textgreater": ">", "textasciigrave": "`", "textquotesingle": "'",
    "textquotedbl": '"', "textminus": "−", "textpm": "±", "texttimes": "×", "textendash": "–",
    "textemdash": "—", "ldots": "…", "leq": "≤", "geq": "≥",
}  # fmt: skip


def typeset(latex):
    """The text that LaTeX shows; fails at a character with a meaning of its own."""
    shown, place = [], 0
    while place < len(latex):
        match = LATEX.match(latex, place)
        assert match, latex[place:]
        place = match.end()
        named = match["name"] or match["symbol"]
        number = chr(int(match["number"], 16)) if match["number"] else None
        plain = match["escaped"] or match["single"] or match["plain"] or ""
        shown.append(number or (NAMED[named] if named else plain))
    return "".join(shown)


LATEX_MARKS = st.sampled_from(
    [*"\\{}&%$#_^~[]*|<>'`\"-,−±×–…≤ a1é", "--", "\U0001f600", "א", "\u202e"]
)


@given(TEXTS | st.lists(LATEX_MARKS, max_size=12).map("".join) | ANY_TEXTS)
def test_latex_shows_any_text(text):
    latex = for_latex(text)
    assert typeset(latex) == visible(" ".join(text.split()))
    assert not re.search(r"--|,,", latex)


def test_latex_keeps_letters_and_names_other_characters_by_number():
    assert for_latex("50 % of a_b") == r"50 \% of a\_b"
    assert for_latex("Müller 😀") == r"Müller \uchar{1F600}"
