r"""Text of others (names, titles, messages) made harmless for the place where it is shown.

    visible("a\x1b[31mb")             # "a\\x1b[31mb", which no terminal obeys
    for_markdown("<b> [x](y)")        # "&lt;b> [x\\](y)", which shows what was written
    for_spreadsheet("=1+1")           # "'=1+1", which no spreadsheet computes

HTML is escaped by its template.
"""

import re

_UNSEEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""Control characters but tab and line feed, turns of the writing direction, halves of characters
and what XML forbids."""

_MARKS = re.compile(
    r"[\\`*~$|]"  # escapes, code, emphasis, strikethrough, mathematics, cells
    r"|(?<![^\W_])_|_(?![^\W_])"  # emphasis; snake_case is none
    r"|\](?=[(\[:])|:(?=//)|(?<=\bwww)\."  # links, pictures, what they refer to
    r"|#(?=#*$)"  # the end of a heading
)
_BLOCK = re.compile(r"^(?:[#>+=-]|\d+(?=[.)]))")
_ENTITY = re.compile(r"&(?=#?\w+;)")
_FORMULA = re.compile(r"^\s*[=+\-@\uff1d\uff0b\uff0d\uff20\t]")


def visible(text: str) -> str:
    r"""The text with what cannot be seen written as escapes.

    Example:
        >>> visible("bell \x07, half \udce9")
        'bell \\x07, half \\udce9'
    """
    return _UNSEEN.sub(lambda match: _escape(match[0]), text)


def for_markdown(text: str, *, block: bool = False) -> str:
    r"""One line of Markdown that shows the text as it is; `block` where it begins a block.

    Example:
        >>> for_markdown("a|b *c* <i> snake_case"), for_markdown("# no title", block=True)
        ('a\\|b \\*c\\* &lt;i> snake_case', '\\# no title')
    """
    line = visible(" ".join(text.split()))
    line = _ENTITY.sub("&amp;", _MARKS.sub(r"\\\g<0>", line)).replace("<", "&lt;")
    return _BLOCK.sub(_as_text, line) if block else line


def for_spreadsheet(text: str) -> str:
    """A text field of a CSV file, with an apostrophe before what would be computed.

    Example:
        >>> for_spreadsheet("=HYPERLINK(...)"), for_spreadsheet("0110+deformable")
        ("'=HYPERLINK(...)", '0110+deformable')
    """
    shown = visible(text)
    return f"'{shown}" if _FORMULA.match(shown) else shown


def _escape(character: str) -> str:
    number = ord(character)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _as_text(match: re.Match[str]) -> str:
    r"""`#` as `\#`, but `1` as `1\`: it is the dot after it that makes a list."""
    found = match[0]
    return f"{found}\\" if found.isdecimal() else f"\\{found}"
