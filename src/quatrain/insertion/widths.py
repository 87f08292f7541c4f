"""What passes the places of a model, seen in one forward pass of an example."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from quatrain.insertion.layouts import AXES, Layout, inferred, to_ours
from quatrain.specs import InputError, SpecError

Example = Tensor | tuple[Any, ...] | Mapping[str, Any]
"""What the model is called with: one tensor, several arguments, or arguments by name."""
Side = Literal["before", "after"]
_KNOWN: tuple[Layout, ...] = ("channels-first", "channels-last", "time-first")


@dataclass(frozen=True)
class Width:
    """The channels at a place, whether it is a sequence (1) or a map (2), and its axes."""

    channels: int
    ndim: int
    layout: Layout


def widths(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    side: Side,
    example: Example,
    layout: Layout | None = None,
) -> dict[str, Width]:
    """The width at each place, seen in one forward pass that leaves the model as it was.

    Args:
        model: what to run.
        places: what to watch, by name.
        side: what comes in ("before") or goes out ("after").
        example: what the model is called with.
        layout: of what passes there; None to read it off the modules around.

    Raises:
        SpecError: if the layout is none.
        InputError: if a place is not reached; if what passes there is neither a sequence nor a
            map, or differs from call to call; or if its layout cannot be told.
    """
    if layout is not None and layout not in _KNOWN:
        raise SpecError("layout", layout, f"one of {', '.join(_KNOWN)}", "choose one of them")
    seen: dict[str, set[tuple[int, ...] | str]] = {name: set() for name in places}
    given: dict[nn.Module, set[int]] = {}
    with ExitStack() as hooks:
        for module in model.modules():
            hooks.callback(module.register_forward_hook(partial(_note_axes, given)).remove)
        for name, module in places.items():
            hooks.callback(_watch(module, side, seen[name]).remove)
        with _as_it_was(model):
            _call(model, example)
    found: dict[str, Width] = {}
    for name, shapes in seen.items():
        read = {_width(model, name, side, shape, given, example, layout) for shape in shapes}
        if len(read) != 1:
            told = "not reached by the example" if not read else f"called with {len(read)} widths"
            remedy = "choose another place or example"
            raise InputError(name, told, f"one map or sequence {side} it", remedy)
        (found[name],) = read
    return found


def _note_axes(
    given: dict[nn.Module, set[int]], module: nn.Module, inputs: object, output: object
) -> None:
    del inputs
    if isinstance(output, Tensor):
        given.setdefault(module, set()).add(output.ndim)


def _watch(module: nn.Module, side: Side, seen: set[tuple[int, ...] | str]) -> Any:
    def shape(x: object) -> tuple[int, ...] | str:
        return tuple(x.shape) if isinstance(x, Tensor) else type(x).__name__

    if side == "before":
        return module.register_forward_pre_hook(
            lambda _, inputs: seen.add(shape(inputs[0] if inputs else None))
        )

    def after(_: nn.Module, __: Any, output: Any) -> None:
        seen.add(shape(output))

    return module.register_forward_hook(after)


def _width(
    model: nn.Module,
    name: str,
    side: Side,
    shape: tuple[int, ...] | str,
    given: Mapping[nn.Module, set[int]],
    example: Example,
    layout: Layout | None,
) -> Width:
    if isinstance(shape, str) or len(shape) not in AXES:
        found = shape if isinstance(shape, str) else f"a tensor of {len(shape)} axes"
        expected = f"one sequence (three axes) or map (four) {side} it"
        raise InputError(name, found, expected, "choose another place")
    known = AXES[len(shape)]
    named = ", ".join(f'"{each}" {axes}' for each, axes in known.items())
    if layout is None:
        layout, why = inferred(model, name, shape, given, _first_axis(example))
        if layout is None:
            raise InputError(f"layout of {name}", f"unclear by {why}", f"one of {named}", "name it")
    if layout not in known:
        raise InputError("layout", layout, f"one of {named} at {name}", "choose one of them")
    ours = to_ours(len(shape), layout)
    return Width(shape[ours[1 if len(shape) == 4 else 2]], len(shape) - 2, layout)


def _first_axis(example: Example) -> int | None:
    """Of the first tensor that the model is called with."""
    values: Any = (example,) if isinstance(example, Tensor) else example
    for value in values.values() if isinstance(values, Mapping) else values:
        if isinstance(value, Tensor) and value.ndim:
            return value.shape[0]
    return None


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
    fastpath = torch.backends.mha.get_fastpath_enabled()
    # torch's own encoder layers would run as one operator and call none of their parts
    torch.backends.mha.set_fastpath_enabled(False)
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=_gpus(model)):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for module, mode in modes:
            module.training = mode


def _gpus(model: nn.Module) -> list[int]:
    devices = {p.device for p in model.parameters() if p.device.type == "cuda"}
    return [device.index for device in devices if device.index is not None]
