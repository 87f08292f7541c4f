"""Find modules of a model by a pattern of their names."""

import difflib
import re

from torch import nn

from quatrain.specs import InputError
from quatrain.specs.errors import shorten

_WILDCARDS = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}


def find(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """The modules whose dotted names match the pattern, in the order of the model.

    "*" and "?" match characters within one part of a name, "**" matches across parts.

    Raises:
        InputError: if no name matches; the message lists similar names.

    Example:
        >>> list(find(nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "*"))
        ['0', '1']
    """
    pieces = re.split(r"(\*\*|\*|\?)", pattern)
    expression = re.compile("".join(_WILDCARDS.get(piece) or re.escape(piece) for piece in pieces))
    modules = {name: module for name, module in model.named_modules() if name}
    matches = {name: module for name, module in modules.items() if expression.fullmatch(name)}
    if not matches:
        similar = difflib.get_close_matches(pattern, modules, n=4, cutoff=0.3) or list(modules)[:4]
        remedy = f"use {', '.join(similar)}" if similar else "it has no submodules"
        raise InputError(f"no module of the model matches {shorten(pattern)}; {remedy}", "pattern")
    return matches
