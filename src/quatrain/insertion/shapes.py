"""Infer channels and layout of the activations at a place from one forward pass.

Modules of torch imply a layout: a Conv1d has (B, C, T), a Linear has the channels last, a layer of
nn.Transformer says by `batch_first` whether the batch comes first. The place itself is read first,
then the modules around it. Where they disagree, or permute axes, the channel axis is the one whose
size is a number of channels of theirs. If both axes or neither fit, `layout=` is required.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, cast

from torch import nn

from quatrain.insertion.example_pass import ExamplePass, Shape, ancestors
from quatrain.specs import InputError, SpecError
from quatrain.specs.errors import shorten

Layout = Literal["channels_first", "channels_last", "time_first"]
"""(B, C, T) and (N, C, H, W); (B, T, C) and (N, H, W, C); (T, B, C)."""
Placement = Literal["before", "after"]
"""Whether a mixer reads the input or the output of a module."""

LAYOUTS: dict[int, dict[Layout, str]] = {
    3: {"channels_first": "(B, C, T)", "channels_last": "(B, T, C)", "time_first": "(T, B, C)"},
    4: {"channels_first": "(N, C, H, W)", "channels_last": "(N, H, W, C)"},
}
"""The axes of each layout, for tensors of three and four axes."""
PERMUTATIONS = {
    (ndim, layout): tuple(axes.strip("()").split(", ").index(axis) for axis in order)
    for ndim, order in ((3, "BTC"), (4, "NCHW"))
    for layout, axes in LAYOUTS[ndim].items()
}
"""The order of axes that turns a layout into (B, T, C) or (N, C, H, W), by number of axes."""

_CHANNELS_FIRST: dict[int, tuple[type[nn.Module], ...]] = {
    3: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d,
        nn.AvgPool1d, nn.GroupNorm, nn.SyncBatchNorm),
    4: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d,
        nn.AvgPool2d, nn.GroupNorm, nn.SyncBatchNorm),
}  # fmt: skip
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
"""By exact type, since subclasses of LayerNorm normalize maps."""
_BATCH_FIRST_FLAG = (nn.MultiheadAttention, nn.RNNBase)
_TRANSFORMERS = (
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.TransformerEncoder,
    nn.TransformerDecoder, nn.Transformer,
)  # fmt: skip
_CHANNEL_ATTRIBUTES = (
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels",
    "embedding_dim", "embed_dim", "input_size", "hidden_size",
)  # fmt: skip


@dataclass(frozen=True)
class ActivationShape:
    """The channels of an activation, its number of axes in space or time, and its layout."""

    channels: int
    ndim: int
    layout: Layout

    def __str__(self) -> str:
        """The axes with the number of channels, such as "(N, 256, H, W)"."""
        return LAYOUTS[self.ndim + 2][self.layout].replace("C", str(self.channels))


def activation_shapes(
    model: nn.Module,
    places: Iterable[str],
    placement: Placement,
    run: ExamplePass,
    layout: Layout | None = None,
) -> dict[str, ActivationShape]:
    """The activation shape at each place; a `layout` of None is inferred from the forward pass."""
    if layout is not None:
        layout = cast("Layout", str(layout).replace("-", "_"))  # as before 0.2
        if layout not in LAYOUTS[3]:
            known = ", ".join(LAYOUTS[3])
            raise SpecError(f"layout={shorten(layout)} is unknown; use one of {known}", "layout")
    by_place: dict[str, ActivationShape] = {}
    for name in places:
        shapes = {call.before if placement == "before" else call.after for call in run.calls[name]}
        if not shapes:
            raise InputError(f"{name} does not run in the example; choose another example", name)
        modules = [model.get_submodule(path) for path in (name, *ancestors(name))]
        distinct = {_shape_at(name, modules, shape, run, layout) for shape in shapes}
        if len(distinct) > 1:
            shown = " and ".join(sorted(map(str, distinct)))
            raise InputError(f"{name} has {shown} in its calls; choose another place", name)
        (by_place[name],) = distinct
    return by_place


def _shape_at(
    name: str, modules: Sequence[nn.Module], shape: Shape, run: ExamplePass, layout: Layout | None
) -> ActivationShape:
    """The activation shape at a place; `modules` are the place, its parent, up to the model."""
    if isinstance(shape, str) or len(shape) not in LAYOUTS:
        value = shape if isinstance(shape, str) else f"tensor of {len(shape)} axes"
        required = "a sequence (three axes) or map (four); choose another place"
        raise InputError(f"the activation of {name} is a {value}, not {required}", name)
    layouts = LAYOUTS[len(shape)]
    choices = ", ".join(f'"{each}" {axes}' for each, axes in layouts.items())
    if layout is None:
        layout, evidence = infer_layout(modules, shape, run)
        if layout is None:
            field = f"layout of {name}"
            raise InputError(f"the {field} is ambiguous: {evidence}; pass one of {choices}", field)
    if layout not in layouts:
        axes = len(shape)
        raise InputError(f"{name} has {axes} axes; layout must be one of {choices}", "layout")
    order = PERMUTATIONS[len(shape), layout]
    return ActivationShape(shape[order[1 if len(shape) == 4 else 2]], len(shape) - 2, layout)


def infer_layout(
    modules: Sequence[nn.Module], shape: tuple[int, ...], run: ExamplePass
) -> tuple[Layout | None, str]:
    """Infer the layout of an activation from the modules at the place and around it.

    Returns:
        The layout, or None if it is ambiguous; and the evidence.
    """
    for module in modules:
        layouts = _implied_layouts(module, len(shape), run)
        if layouts:
            break
    else:
        return None, "no module near it implies one"
    if len(layouts) > 1 or module in run.permuting:
        return _layout_by_channels(modules, shape, run, layouts)
    ((layout, kind),) = layouts.items()
    if len(shape) == 4 or layout == "channels_first":
        return layout, kind
    return _batch_axis(modules, shape, run)


def _implied_layouts(module: nn.Module, ndim: int, run: ExamplePass) -> dict[Layout, str]:
    """Each layout that a module or a part of it implies, with the class of one such part."""
    layouts: dict[Layout, str] = {}
    for part in module.modules():
        has_ndim = ndim in run.output_ndims.get(part, ())
        if (ndim == 3 and isinstance(part, _BATCH_FIRST_FLAG)) or (
            has_ndim and type(part) in _CHANNELS_LAST
        ):
            layouts["channels_last"] = type(part).__name__
        elif has_ndim and isinstance(part, _CHANNELS_FIRST[ndim]):
            layouts["channels_first"] = type(part).__name__
    return layouts


def _layout_by_channels(
    modules: Sequence[nn.Module],
    shape: tuple[int, ...],
    run: ExamplePass,
    layouts: dict[Layout, str],
) -> tuple[Layout | None, str]:
    """The layout whose channel axis has a number of channels of the nearest modules."""
    kinds = " and ".join(sorted(layouts.values()))
    second = last = False
    for module in modules:
        parts = (part for part in module.modules() if part in run.output_ndims)
        numbers = {number for part in parts for number in _channel_numbers(part)}
        second, last = shape[1] in numbers, shape[-1] in numbers
        if second or last:
            break
    if second == last:
        conflict = "disagree" if len(layouts) > 1 else "permute axes"
        are = "are both numbers of channels there" if second else "are no number of channels there"
        return None, f"{kinds} near it {conflict}, and its axes of {shape[1]} and {shape[-1]} {are}"
    if second:
        return "channels_first", f"{shape[1]} channels of {kinds}"
    if len(shape) == 4:
        return "channels_last", f"{shape[-1]} channels of {kinds}"
    return _batch_axis(modules, shape, run)


def _channel_numbers(module: nn.Module) -> set[int]:
    """The numbers of channels of a module of torch; none of other modules."""
    kinds = (*_CHANNELS_FIRST[3], *_CHANNELS_FIRST[4], *_CHANNELS_LAST, *_BATCH_FIRST_FLAG)
    if not isinstance(module, kinds):
        return set()
    sizes = {getattr(module, name, None) for name in _CHANNEL_ATTRIBUTES}
    normalized = getattr(module, "normalized_shape", None) or (None,)
    return {size for size in (*sizes, normalized[-1]) if isinstance(size, int)}


def _batch_axis(
    modules: Sequence[nn.Module], shape: tuple[int, ...], run: ExamplePass
) -> tuple[Layout | None, str]:
    """Whether the batch or the time comes first in a sequence with the channels last."""
    for level, module in enumerate(modules):
        if isinstance(module, _TRANSFORMERS) or (
            level == 0 and isinstance(module, _BATCH_FIRST_FLAG)
        ):
            (flag, *_) = _batch_first_flags(module)
            return ("channels_last" if flag else "time_first"), type(module).__name__
    for module in modules:
        flags = set(_batch_first_flags(module))
        if False in flags:
            return None, "a module near it has batch_first=False"
        if flags:
            return "channels_last", "batch_first=True near it"
    if run.batch is not None and shape[1] == run.batch:
        if shape[0] != run.batch:
            return None, f"its second axis, not its first, is as long as the batch ({run.batch})"
        if run.permutes_batch:
            return None, f"its first two axes are as long as the batch ({run.batch}), permuted"
    return "channels_last", "linear layers"


def _batch_first_flags(module: nn.Module) -> list[bool]:
    kinds = (*_BATCH_FIRST_FLAG, nn.Transformer)
    return [part.batch_first for part in module.modules() if isinstance(part, kinds)]  # pyright: ignore[reportReturnType]
