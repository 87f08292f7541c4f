"""Places in a model: modules by the pattern of their names."""

import difflib
import re

from torch import nn

from quatrain.specs import InputError


def find(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """The modules whose names match, in the order of the model.

    "*" and "?" stand for characters within one part of a dotted name, "**" for any parts.

    Raises:
        InputError: if there is none; it names those that are nearest.

    Example:
        >>> list(find(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "*"))
        ['0', '1']
    """
    expression = re.compile(_translated(pattern))
    named = {name: module for name, module in model.named_modules() if name}
    matches = {name: module for name, module in named.items() if expression.fullmatch(name)}
    if matches:
        return matches
    near = difflib.get_close_matches(pattern, named, n=4, cutoff=0.3) or list(named)[:4]
    places = ", ".join(near) if near else "none: the model has no part"
    raise InputError("pattern", pattern, "the name of a module in the model", f"near are {places}")


def _translated(pattern: str) -> str:
    """The glob as a regular expression."""
    pieces = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return "".join(pieces.get(part) or re.escape(part) for part in parts)
