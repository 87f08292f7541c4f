r"""Text of a report: names of metrics, rounded numbers, and escapes for each format.

    title_of("valid_ap50")            # "valid AP50"
    format_fixed(1.5, 2, "+")         # "+1.50"
    format_quantity(0.0, 2)           # "< 0.01"
    visible("a\x1b[31mb")             # "a\\x1b[31mb", which no terminal interprets
    for_markdown("<b> [x](y)")        # "&lt;b> [x\\](y)", which is shown as written
    for_spreadsheet("=1+1")           # "'=1+1", which no spreadsheet evaluates
    for_latex("50 % of a_b")          # "50 \\% of a\\_b"

The template of the HTML page escapes its text itself.
"""

import re
from collections.abc import Iterable

_LIMITS = ("", "1", "10", "50", "75", "100")
_WORDS = {"bleu": "BLEU", "chrf": "chrF", "miou": "mIoU", "iou": "IoU"}
_WORDS |= {f"{kind}{of}": f"{kind.upper()}{of}" for kind in ("ap", "ar") for of in _LIMITS}

_ASTRONOMICAL = 1e15

_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters except tab and line feed, changes of the writing direction, surrogates, and
characters that XML forbids."""

_MARKS = re.compile(
    r"[\\`*~$|]"  # escapes, code, emphasis, strikethrough, mathematics, cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis, except in snake_case
    r"|\](?=[(\[:])|:(?=//)|(?<=\bwww)\."  # links, pictures, references
    r"|#(?=#*$)"  # the end of a heading
)
_BLOCK = re.compile(r"^(?:[#>+=-]|\d+(?=[.)]))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_FORMULA = re.compile(r"^\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t]")

_LATEX = {
    "\\": r"\textbackslash{}",
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    **{mark: f"{{{mark}}}" for mark in "[]*"},  # not an argument of a line end
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "`": r"\textasciigrave{}",
    "'": r"\textquotesingle{}",
    '"': r"\textquotedbl{}",
    "−": r"\textminus{}",
    "±": r"\textpm{}",
    "×": r"\texttimes{}",
    "–": r"\textendash{}",
    "—": r"\textemdash{}",
    "…": r"\ldots{}",
    "≤": r"\ensuremath{\leq}",
    "≥": r"\ensuremath{\geq}",
}
_LATEX_LETTERS = frozenset(
    "ÀÁÂÃÄÅÆÇÈÉÊËÌÍÎÏÑÒÓÔÕÖØÙÚÛÜÝßàáâãäåæçèéêëìíîïñòóôõöøùúûüýÿ"
    "ĂăĄąĆćČčĎďĘęĚěĞğŁłŃńŇňŐőŒœŔŕŘřŚśŞşŠšŢţŤťŮůŰűŸŹźŻżŽž"
)
"""Letters that fonts of the encoding T1 have."""


def title_of(metric: str) -> str:
    """The title of a metric in tables and figures; data files have the keys of the records."""
    return " ".join(_WORDS.get(word, word) for word in metric.split("_"))


def format_fixed(value: float, places: int, sign: str = "") -> str:
    """A number with this many decimal places; above 1e15 with three significant digits."""
    return f"{value:{sign}.{places}f}" if abs(value) < _ASTRONOMICAL else f"{value:{sign}.3g}"


def places_of(values: Iterable[float]) -> int:
    """The decimal places of a metric: 2, or 4 if all values are between -1 and 1."""
    largest = max(map(abs, values), default=0.0)
    return 2 if largest >= 1 or largest == 0 else 4


def format_quantity(value: float, places: int) -> str:
    """A nonnegative quantity; one that would round to zero becomes an upper bound."""
    least = 10.0**-places
    return format_fixed(value, places) if value >= least / 2 else f"< {least:.{places}f}"


def shorten_name(name: str, most: int = 40) -> str:
    """A name of at most `most` letters, its middle replaced by an ellipsis.

    Example:
        >>> shorten_name("encoder-decoder", 8)
        'encod…er'
    """
    head = most * 2 // 3
    return name if len(name) <= most else f"{name[:head]}…{name[1 - most + head :]}"


def visible(text: str) -> str:
    """The text with invisible characters written as escapes."""
    return _INVISIBLE.sub(lambda match: _escape(match[0]), text)


def for_markdown(text: str, *, block: bool = False) -> str:
    """One line of Markdown that is shown as `text`; `block` if it begins a block."""
    line = visible(" ".join(text.split()))
    line = _ENTITY.sub("&amp;", _MARKS.sub(r"\\\g<0>", line)).replace("<", "&lt;")
    return _BLOCK.sub(_escape_block, line) if block else line


def for_spreadsheet(text: str) -> str:
    """A text field of a CSV file, with an apostrophe before a formula."""
    field = visible(text)
    return f"'{field}" if _FORMULA.match(field) else field


def for_latex(text: str) -> str:
    r"""Text of a LaTeX document that is typeset as `text`, by the encoding T1.

    Characters that its fonts lack, such as emoji, are written as `\\uchar{1F600}`.
    """
    line = "".join(map(_escape_latex, visible(" ".join(text.split()))))
    return re.sub(r"(?<=([-,]))(?=\1)", "{}", line)  # -- would be a dash


def _escape_latex(character: str) -> str:
    if character in _LATEX:
        return _LATEX[character]
    if character.isascii() or character in _LATEX_LETTERS:
        return character
    return f"\\uchar{{{ord(character):04X}}}"


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _escape_block(match: re.Match[str]) -> str:
    r"""`#` as `\#`, but `1` as `1\`, since the dot after it makes the list."""
    mark = match[0]
    return f"{mark}\\" if mark.isdecimal() else f"\\{mark}"
