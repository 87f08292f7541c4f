"""Entries of BibTeX for the methods that a report uses, from `references.bib` of this package."""

import functools
import re
from collections.abc import Iterable
from importlib import resources

_ENTRY = re.compile(r"^@\w+\{([^,\s]+),\n.*?^\}\n", re.MULTILINE | re.DOTALL)


@functools.cache
def known_entries() -> dict[str, str]:
    """The text of each known entry by its key."""
    text = (resources.files("quatrain.report") / "references.bib").read_text("utf-8")
    return {match[1]: match[0] for match in _ENTRY.finditer(text)}


def bibliography(keys: Iterable[str]) -> str:
    """The entries with these keys, each once, as a file of BibTeX; KeyError for an unknown key.

    Example:
        >>> bibliography(["post2018call"]).splitlines()[0]
        '@inproceedings{post2018call,'
    """
    return "\n".join(known_entries()[key] for key in dict.fromkeys(keys))
