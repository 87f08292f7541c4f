"""Text that any file can hold: valid Unicode, of bounded length."""

_ROOM_FOR_NOTE = 50


def storable(text: str, limit: int | None = None) -> str:
    r"""Escape lone surrogates, which no encoding has, and cut the middle out of a long text.

    A file name that is not UTF-8 has them, and so has an exception that names the file.

    Args:
        text: any text.
        limit: the most characters of the result, 100 or more; by default there is none.

    Example:
        >>> storable("caf\udce9.txt")
        'caf\\udce9.txt'
        >>> storable("0123456789" * 20, limit=100)
        '0123456789012345678901234 … [150 characters left out] … 5678901234567890123456789'
    """
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    if limit is None or len(text) <= limit:
        return text
    kept = (limit - _ROOM_FOR_NOTE) // 2
    return f"{text[:kept]} … [{len(text) - 2 * kept:,} characters left out] … {text[-kept:]}"
