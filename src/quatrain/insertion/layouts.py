"""Which axis of a tensor in somebody's model is which: read off the modules around it, or told.

Torch's own modules say how they lay out what passes them: a Conv1d gives (B, C, T), a Linear has
channels last, a layer of nn.Transformer says by `batch_first` whether tokens come first. Where
they disagree, or none is near, nothing is guessed.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from torch import nn

Layout = Literal["channels-first", "channels-last", "time-first"]
"""(B, C, T) and (N, C, H, W); (B, T, C) and (N, H, W, C); (T, B, C)."""

AXES: dict[int, dict[Layout, str]] = {
    3: {"channels-first": "(B, C, T)", "channels-last": "(B, T, C)", "time-first": "(T, B, C)"},
    4: {"channels-first": "(N, C, H, W)", "channels-last": "(N, H, W, C)"},
}
"""The layouts of tensors of three and of four axes."""

_TO_OURS: dict[tuple[int, Layout], tuple[int, ...]] = {
    (3, "channels-first"): (0, 2, 1),
    (3, "channels-last"): (0, 1, 2),
    (3, "time-first"): (1, 0, 2),
    (4, "channels-first"): (0, 1, 2, 3),
    (4, "channels-last"): (0, 3, 1, 2),
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


def to_ours(axes: int, layout: Layout) -> tuple[int, ...]:
    """The permutation that lays out a tensor as our mixers read it: (B, T, C) or (N, C, H, W)."""
    return _TO_OURS[axes, layout]


def inferred(
    model: nn.Module,
    name: str,
    shape: tuple[int, ...],
    given: Mapping[nn.Module, set[int]],
    batch: int | None,
) -> tuple[Layout | None, str]:
    """The layout of what passes a place, or None; and why.

    The place itself is asked first, then what is around it, in growing circles.

    Args:
        model: the model.
        name: the place.
        shape: of what passes it, of three or four axes.
        given: how many axes the output of each module of the model had.
        batch: the first axis of what the model was called with.
    """
    said = _channel_axis(model, name, len(shape), given)
    if len(said) != 1:
        around = " and ".join(sorted(said.values())) or "no module"
        return None, f"{around} near it, which {'disagree' if said else 'could tell'}"
    ((layout, kind),) = said.items()
    if len(shape) == 4 or layout == "channels-first":
        return layout, kind
    return _order(model, name, shape, batch)


def _channel_axis(
    model: nn.Module, name: str, axes: int, given: Mapping[nn.Module, set[int]]
) -> dict[Layout, str]:
    """What the modules of the nearest circle that has any say, and one that says so."""
    for circle in _circles(model, name):
        said: dict[Layout, str] = {}
        for module in circle.modules():
            layout = _said_by(module, axes, gave=axes in given.get(module, ()))
            if layout is not None:
                said[layout] = type(module).__name__
        if said:
            return said
    return {}


def _said_by(module: nn.Module, axes: int, *, gave: bool) -> Layout | None:
    if axes == 3 and isinstance(module, _ORDERED):
        return "channels-last"
    if gave and type(module) in _CHANNELS_LAST:
        return "channels-last"
    return "channels-first" if gave and isinstance(module, _CHANNELS_FIRST[axes]) else None


def _order(
    model: nn.Module, name: str, shape: tuple[int, ...], batch: int | None
) -> tuple[Layout | None, str]:
    """Whether the batch comes first in (B, T, C)."""
    for level, module in enumerate(_circles(model, name)):
        if isinstance(module, _TORCHS) or (level == 0 and isinstance(module, _ORDERED)):
            (flag, *_) = _flags(module)
            return ("channels-last" if flag else "time-first"), type(module).__name__
    for module in _circles(model, name):
        flags = set(_flags(module))
        if False in flags:
            return None, "a module near it has batch_first=False"
        if flags:
            return "channels-last", "batch_first=True near it"
    if batch is not None and shape[0] != batch and shape[1] == batch:
        return None, f"its second axis, not its first, is as long as the batch ({batch})"
    return "channels-last", "linear layers"


def _flags(module: nn.Module) -> list[bool]:
    parts = module.modules()
    return [part.batch_first for part in parts if isinstance(part, (*_ORDERED, nn.Transformer))]  # pyright: ignore[reportReturnType]


def _circles(model: nn.Module, name: str) -> Iterator[nn.Module]:
    """The place, what holds it, and so on up to the model."""
    parts = name.split(".")
    for depth in range(len(parts), -1, -1):
        yield model.get_submodule(".".join(parts[:depth]))
