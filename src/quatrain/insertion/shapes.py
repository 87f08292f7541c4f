"""How wide the places of a model are, and how they are laid out, by a pass of an example."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import nn

from quatrain.insertion.example_pass import ExamplePass, Shape
from quatrain.insertion.layouts import AXES, Layout, inferred, to_ours
from quatrain.specs import InputError, SpecError

Placement = Literal["before", "after"]
_KNOWN: tuple[Layout, ...] = ("channels_first", "channels_last", "time_first")


@dataclass(frozen=True)
class ActivationShape:
    """The channels at a place, whether it is a sequence (1) or a map (2), and its axes."""

    channels: int
    ndim: int
    layout: Layout


def activation_shapes(
    model: nn.Module,
    places: Iterable[str],
    side: Placement,
    seen: ExamplePass,
    layout: Layout | None = None,
) -> dict[str, ActivationShape]:
    """The width at each place.

    Args:
        model: what was run.
        places: the names of the places.
        side: what comes in ("before") or goes out ("after").
        seen: one forward pass of the model.
        layout: of what passes there; None to read it off the modules around.

    Raises:
        SpecError: if the layout is none.
        InputError: if a place is not reached; if what passes there is neither a sequence nor a
            map, or differs from call to call; or if its layout cannot be told.
    """
    if layout is not None and layout not in _KNOWN:
        raise SpecError("layout", layout, f"one of {', '.join(_KNOWN)}", "choose one of them")
    by_place: dict[str, ActivationShape] = {}
    for name in places:
        shapes = {call.before if side == "before" else call.after for call in seen.calls[name]}
        read = {_width(model, name, side, shape, seen, layout) for shape in shapes}
        if len(read) != 1:
            problem = (
                "not reached by the example" if not read else f"called with {len(read)} widths"
            )
            remedy = "choose another place or example"
            raise InputError(name, problem, f"one map or sequence {side} it", remedy)
        (by_place[name],) = read
    return by_place


def _width(
    model: nn.Module,
    name: str,
    side: Placement,
    shape: Shape,
    seen: ExamplePass,
    layout: Layout | None,
) -> ActivationShape:
    if isinstance(shape, str) or len(shape) not in AXES:
        value = shape if isinstance(shape, str) else f"a tensor of {len(shape)} axes"
        expected = f"one sequence (three axes) or map (four) {side} it"
        raise InputError(name, value, expected, "choose another place")
    known = AXES[len(shape)]
    named = ", ".join(f'"{each}" {axes}' for each, axes in known.items())
    if layout is None:
        layout, why = inferred(model, name, shape, seen.axes)
        if layout is None:
            raise InputError(f"layout of {name}", f"unclear by {why}", f"one of {named}", "name it")
    if layout not in known:
        raise InputError("layout", layout, f"one of {named} at {name}", "choose one of them")
    ours = to_ours(len(shape), layout)
    return ActivationShape(shape[ours[1 if len(shape) == 4 else 2]], len(shape) - 2, layout)
