"""Places in a model: modules by the pattern of their names, and what passes through them."""

import difflib
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quatrain.specs import InputError

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What the model is called with: one tensor, several arguments, or arguments by name."""
Side = Literal["before", "after"]


@dataclass(frozen=True)
class Width:
    """The channels at a place, and whether it is a sequence (1) or a map (2)."""

    channels: int
    ndim: int


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
    found = {name: module for name, module in named.items() if expression.fullmatch(name)}
    if found:
        return found
    near = difflib.get_close_matches(pattern, named, n=4, cutoff=0.3) or list(named)[:4]
    places = ", ".join(near) if near else "none: the model has no part"
    raise InputError("pattern", pattern, "the name of a module in the model", f"near are {places}")


def _translated(pattern: str) -> str:
    """The glob as a regular expression."""
    pieces = {"**": ".*", "*": r"[^.]*", "?": r"[^.]"}
    parts = re.split(r"(\*\*|\*|\?)", pattern)
    return "".join(pieces.get(part) or re.escape(part) for part in parts)


def widths(
    model: nn.Module, places: Mapping[str, nn.Module], side: Side, example: Example
) -> dict[str, Width]:
    """The width at each place, seen in one forward pass that leaves the model as it was.

    A tensor of 4 axes is a map (N, C, H, W), one of 3 a sequence (B, T, C).

    Raises:
        InputError: if a place is not reached, or what passes there is neither, or differs.
    """
    seen: dict[str, set[Width | str]] = {name: set() for name in places}
    with ExitStack() as hooks:
        for name, module in places.items():
            handle = _watch(module, side, seen[name])
            hooks.callback(handle.remove)
        with _as_it_was(model):
            _call(model, example)
    return {name: _only(name, side, kinds) for name, kinds in seen.items()}


def _watch(module: nn.Module, side: Side, seen: set[Width | str]) -> Any:
    if side == "before":
        return module.register_forward_pre_hook(
            lambda _, inputs: seen.add(_width(inputs[0] if inputs else None))
        )

    def after(_: nn.Module, __: Any, output: Any) -> None:
        seen.add(_width(output))

    return module.register_forward_hook(after)


def _width(x: Any) -> Width | str:
    """What passes, or in words what is wrong with it."""
    if not isinstance(x, Tensor):
        return type(x).__name__
    if x.ndim not in (3, 4):
        return f"a tensor of {x.ndim} axes"
    return Width(x.shape[1], 2) if x.ndim == 4 else Width(x.shape[2], 1)


def _only(name: str, side: Side, kinds: set[Width | str]) -> Width:
    expected = f"one map (N, C, H, W) or sequence (B, T, C) {side} it"
    if len(kinds) == 1:
        (kind,) = kinds
        if isinstance(kind, Width):
            return kind
        raise InputError(name, kind, expected, "choose another place")
    found = "not reached by the example" if not kinds else f"called with {len(kinds)} widths"
    raise InputError(name, found, expected, "choose another place or example")


def _call(model: nn.Module, example: Example) -> None:
    if isinstance(example, Mapping):
        model(**example)
    elif isinstance(example, tuple):
        model(*example)
    else:
        model(example)


@contextmanager
def _as_it_was(model: nn.Module) -> Iterator[None]:
    """Evaluation without gradients; training modes and the random state come back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_gpus(model)):
            yield
    finally:
        for module, mode in modes:
            module.training = mode


def _gpus(model: nn.Module) -> list[int]:
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return [device.index for device in devices if device.index is not None]
