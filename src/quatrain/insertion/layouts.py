"""Which axis of a tensor in somebody's model is which, inferred from the modules around it.

Torch's own modules say how they lay out what passes them: a Conv1d gives (B, C, T), a Linear has
channels last, a layer of nn.Transformer says by `batch_first` whether tokens come first. Where
they disagree, or axes are permuted among them, the channels are the axis whose size is a number
of channels of theirs. If both axes are such, or none is, the layout has to be named.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from torch import nn

from quatrain.nn.convolution import Convolution
from quatrain.nn.generalized_attention import GeneralizedAttention

Layout = Literal["channels_first", "channels_last", "time_first"]
"""(B, C, T) and (N, C, H, W); (B, T, C) and (N, H, W, C); (T, B, C)."""

AXES: dict[int, dict[Layout, str]] = {
    3: {"channels_first": "(B, C, T)", "channels_last": "(B, T, C)", "time_first": "(T, B, C)"},
    4: {"channels_first": "(N, C, H, W)", "channels_last": "(N, H, W, C)"},
}
"""The layouts of tensors of three and of four axes."""

_TO_OURS: dict[tuple[int, Layout], tuple[int, ...]] = {
    (3, "channels_first"): (0, 2, 1),
    (3, "channels_last"): (0, 1, 2),
    (3, "time_first"): (1, 0, 2),
    (4, "channels_first"): (0, 1, 2, 3),
    (4, "channels_last"): (0, 3, 1, 2),
}

_CHANNELS_FIRST: dict[int, tuple[type[nn.Module], ...]] = {
    3: (nn.Conv1d, nn.ConvTranspose1d, nn.BatchNorm1d, nn.InstanceNorm1d, nn.MaxPool1d,
        nn.AvgPool1d, nn.GroupNorm, nn.SyncBatchNorm),
    4: (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.InstanceNorm2d, nn.MaxPool2d,
        nn.AvgPool2d, nn.GroupNorm, nn.SyncBatchNorm),
}  # fmt: skip
# by their very type: subclasses of LayerNorm normalize maps
_CHANNELS_LAST = (nn.Linear, nn.LayerNorm, nn.Embedding)
_ORDERED = (nn.MultiheadAttention, nn.RNNBase)
_TORCHS = (
    nn.TransformerEncoderLayer, nn.TransformerDecoderLayer, nn.TransformerEncoder,
    nn.TransformerDecoder, nn.Transformer,
)  # fmt: skip
KEEPS_AXES = (*_ORDERED, *_TORCHS, GeneralizedAttention, Convolution)
"""Modules that give the axes in the order they get them, whatever they permute inside."""

_NUMBERS_OF_CHANNELS = (
    "in_channels", "out_channels", "in_features", "out_features", "num_features", "num_channels",
    "embedding_dim", "embed_dim", "input_size", "hidden_size",
)  # fmt: skip


@dataclass
class Axes:
    """What one forward pass of a model shows about the axes of its tensors."""

    output_ndims: dict[nn.Module, set[int]] = field(default_factory=dict)
    """How many axes the outputs of each module had; a module that did not run is not in it."""
    permuted_in: set[nn.Module] = field(default_factory=set)
    """Modules in whose calls the last axis of a sequence or map changed places with another."""
    order_permuted: bool = False
    """Whether the first axis of a sequence changed places with another."""
    batch: int | None = None
    """The first axis of what the model was called with."""


def to_ours(axes: int, layout: Layout) -> tuple[int, ...]:
    """The permutation that lays out a tensor as our mixers read it: (B, T, C) or (N, C, H, W)."""
    return _TO_OURS[axes, layout]


def inferred(
    model: nn.Module, name: str, shape: tuple[int, ...], axes: Axes
) -> tuple[Layout | None, str]:
    """The layout of what passes a place, or None; and why.

    The place itself is asked first, then what is around it, in growing circles.

    Args:
        model: the model.
        name: the place.
        shape: of what passes it, of three or four axes.
        axes: seen in one forward pass of the model.
    """
    for circle in _circles(model, name):
        layouts = _layouts_in(circle, len(shape), axes)
        if layouts:
            break
    else:
        return None, "no module near it, which could tell"
    if len(layouts) > 1 or circle in axes.permuted_in:
        return _by_width(model, name, shape, axes, layouts)
    ((layout, kind),) = layouts.items()
    if len(shape) == 4 or layout == "channels_first":
        return layout, kind
    return _order(model, name, shape, axes)


def _layouts_in(circle: nn.Module, ndim: int, axes: Axes) -> dict[Layout, str]:
    """Each layout that a module of a circle says, and one that says so."""
    layouts: dict[Layout, str] = {}
    for module in circle.modules():
        layout = _layout_of(module, ndim, gave_ndim=ndim in axes.output_ndims.get(module, ()))
        if layout is not None:
            layouts[layout] = type(module).__name__
    return layouts


def _layout_of(module: nn.Module, ndim: int, *, gave_ndim: bool) -> Layout | None:
    if ndim == 3 and isinstance(module, _ORDERED):
        return "channels_last"
    if gave_ndim and type(module) in _CHANNELS_LAST:
        return "channels_last"
    return "channels_first" if gave_ndim and isinstance(module, _CHANNELS_FIRST[ndim]) else None


def _by_width(
    model: nn.Module, name: str, shape: tuple[int, ...], axes: Axes, layouts: dict[Layout, str]
) -> tuple[Layout | None, str]:
    """The layout whose axis of channels is as long as modules at the place, or around, are wide."""
    kinds = " and ".join(sorted(layouts.values()))
    second = last = False
    for circle in _circles(model, name):
        known = {
            size
            for part in circle.modules()
            if part in axes.output_ndims
            for size in _channels(part)
        }
        second, last = shape[1] in known, shape[-1] in known
        if second or last:
            break
    if second == last:
        disagree = "which disagree" if len(layouts) > 1 else "among which axes are permuted"
        are = "are both numbers of channels there" if second else "are none of channels"
        sizes = f"axes of {shape[1]} and {shape[-1]}"
        return None, f"{kinds} near it, {disagree}, and its {sizes} {are}"
    if second:
        return "channels_first", f"{shape[1]} channels of {kinds}"
    if len(shape) == 4:
        return "channels_last", f"{shape[-1]} channels of {kinds}"
    return _order(model, name, shape, axes)


def _channels(module: nn.Module) -> set[int]:
    """Every number of channels that a module of torch's has."""
    if not isinstance(module, (*_CHANNELS_FIRST[3], *_CHANNELS_FIRST[4], *_CHANNELS_LAST,
                               *_ORDERED)):  # fmt: skip
        return set()
    sizes = {getattr(module, name, None) for name in _NUMBERS_OF_CHANNELS}
    normalized = getattr(module, "normalized_shape", None) or (None,)
    return {size for size in (*sizes, normalized[-1]) if isinstance(size, int)}


def _order(
    model: nn.Module, name: str, shape: tuple[int, ...], axes: Axes
) -> tuple[Layout | None, str]:
    """Whether the batch comes first in (B, T, C)."""
    for level, module in enumerate(_circles(model, name)):
        if isinstance(module, _TORCHS) or (level == 0 and isinstance(module, _ORDERED)):
            (flag, *_) = _flags(module)
            return ("channels_last" if flag else "time_first"), type(module).__name__
    for module in _circles(model, name):
        flags = set(_flags(module))
        if False in flags:
            return None, "a module near it has batch_first=False"
        if flags:
            return "channels_last", "batch_first=True near it"
    if axes.batch is not None and shape[1] == axes.batch:
        if shape[0] != axes.batch:
            return None, f"its second axis, not its first, is as long as the batch ({axes.batch})"
        if axes.order_permuted:
            return None, f"its first two axes are as long as the batch ({axes.batch}), permuted"
    return "channels_last", "linear layers"


def _flags(module: nn.Module) -> list[bool]:
    parts = module.modules()
    return [part.batch_first for part in parts if isinstance(part, (*_ORDERED, nn.Transformer))]  # pyright: ignore[reportReturnType]


def _circles(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The place, what holds it, and so on up to the model."""
    parts = name.split(".")
    for depth in range(len(parts), -1, -1):
        yield model.get_submodule(".".join(parts[:depth]))
