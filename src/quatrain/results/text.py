"""Text that can be stored in any file: valid Unicode, of limited length."""

_NOTE_LENGTH = 50


def storable(text: str, limit: int | None = None) -> str:
    r"""Escape lone surrogates, which no encoding has, and cut the middle out of a long text.

    A file name that is not UTF-8 has lone surrogates, and so has an exception that names the file.

    Args:
        text: any text.
        limit: the most characters of the result, 100 or more; None for no limit.

    Example:
        >>> storable("caf\udce9.txt")
        'caf\\udce9.txt'
        >>> storable("0123456789" * 20, limit=100)
        '0123456789012345678901234 … [150 characters left out] … 5678901234567890123456789'
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if limit is None or len(text) <= limit:
        return text
    side = (limit - _NOTE_LENGTH) // 2
    return f"{text[:side]} … [{len(text) - 2 * side:,} characters left out] … {text[-side:]}"
