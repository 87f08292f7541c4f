"""Find modules of a model by a pattern of their names, or by their class.

Source: our own.
"""

import difflib
import re
from typing import TypeVar

from torch import nn

from quatrain.specs import InputError
from quatrain.specs.errors import shorten

ModuleT = TypeVar("ModuleT", bound=nn.Module)

_WILDCARDS = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
_MOST_NAMES = 4


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
        similar = similar_names(pattern, modules)
        remedy = f"use {', '.join(similar)}" if similar else "it has no submodules"
        raise InputError(f"no module of the model matches {shorten(pattern)}; {remedy}", "pattern")
    return matches


def find_class(
    model: nn.Module,
    kind: type[ModuleT] | tuple[type[ModuleT], ...],
    at: str | None = None,
    *,
    noun: str | None = None,
) -> dict[str, ModuleT]:
    """The modules of a class by name; with `at`, those that match or are within a match.

    Args:
        model: any module; if it is itself of the class, its name is "".
        kind: the class, or several.
        at: a pattern of module names, as in `find`; None for the whole model.
        noun: the word for such a module in errors; by default the name of the class.

    Raises:
        InputError: if `at` matches no module, or none of this class; the message lists similar
            names. If the whole model has none, and `at` is None, the dictionary is empty.
    """
    modules = {name: module for name, module in model.named_modules() if isinstance(module, kind)}
    if at is None:
        return modules
    if not isinstance(at, str):
        raise InputError(f"at={shorten(at)} is not a pattern of module names; pass a string", "at")
    places = tuple(f"{name}." for name in find(model, at))
    chosen = {name: module for name, module in modules.items() if f"{name}.".startswith(places)}
    if not chosen:
        classes = kind if isinstance(kind, tuple) else (kind,)
        word = noun or " or ".join(x.__name__ for x in classes)
        remedy = f"use {', '.join(similar_names(at, modules))}" if modules else "the model has none"
        raise InputError(f"at={shorten(at)} matches no {word}; {remedy}", "at")
    return chosen


def similar_names(pattern: str, names: dict[str, ModuleT]) -> list[str]:
    """Up to four names that are the most similar to a pattern, or else the first ones."""
    close = difflib.get_close_matches(pattern, names, n=_MOST_NAMES, cutoff=0.3)
    return close or list(names)[:_MOST_NAMES]
