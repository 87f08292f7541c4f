"""The mean attention weight by relative position, for each head.

    profile = position_profile(explanation)
    profile.weight                  # (h, offsets), NaN at offsets that no pair in the support has
    plot_position_profile(explanation).savefig("profile.png")

Shapes: b batch, h heads, q queries, k keys.
"""

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float64, Int64
from torch import Tensor

from quatrain.figures.canvas import COLORMAP, MASKED, PALETTE, add_colorbar, new_figure, whole_ticks
from quatrain.nn import Explanation
from quatrain.specs import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_SIDE = 2.2
_LINES = ("-", "--", ":", "-.")


@dataclass(frozen=True)
class PositionProfile:
    """The mean attention weight by relative position k - q, for each head.

    Args:
        weight: of shape (h, offsets) on sequences and (h, rows, columns) on maps; NaN where no
            pair of query and key in the support has the relative position.
        relative: the relative positions of each axis of `weight` after the first, in positions of
            the queries, ascending: those between the first and the last that a pair has.
    """

    weight: Float64[Tensor, "h ..."]
    relative: tuple[range, ...]


def position_profile(
    explanation: Explanation, *, query_padding_mask: Bool[Tensor, "b q"] | None = None
) -> PositionProfile:
    """The mean attention weight by relative position of the key to the query, for each head.

    The mean is over all pairs in the support with that relative position, over the batch. Queries
    whose keys are all masked have no such pair. Distant pairs are few, so their means vary more.

    Args:
        explanation: of all queries or of one, from `capture` or `explain`.
        query_padding_mask: True at queries that are padding and left out, (B, Q).

    Source: our own.

    Raises:
        InputError: if the mask does not fit.
    """
    weights = explanation.weights
    index, relative = _relative_index(explanation)
    batch, heads, queries, _ = weights.shape
    if query_padding_mask is not None and query_padding_mask.shape != (batch, queries):
        message = f"query_padding_mask has the shape {tuple(query_padding_mask.shape)}"
        raise InputError(f"{message}; pass ({batch}, {queries})", "query_padding_mask")
    count = int(np.prod([len(positions) for positions in relative]))
    sums, pairs = (torch.zeros(heads, count, dtype=torch.float64) for _ in range(2))
    for example, head in itertools.product(range(batch), range(heads)):
        allowed = _support_of(explanation, example, head)
        if query_padding_mask is not None:
            allowed = allowed & ~query_padding_mask[example].to(allowed.device)[:, None]
        selected = allowed.cpu()
        at, values = index[selected], weights[example, head].detach().cpu()[selected]
        sums[head].index_add_(0, at, values.double())
        pairs[head].index_add_(0, at, torch.ones_like(at, dtype=torch.float64))
    shape = (heads, *(len(positions) for positions in relative))
    return _trimmed(PositionProfile((sums / pairs).reshape(shape), relative))


def plot_position_profile(
    explanation: Explanation, *, query_padding_mask: Bool[Tensor, "b q"] | None = None
) -> "Figure":
    """The mean attention weight by relative position: a curve or a map for each head.

    Means are those of `position_profile`. Relative position 0 is the query itself; on a map it is
    at the cross, and all heads share the colours.

    Args:
        explanation: of all queries or of one, from `capture` or `explain`.
        query_padding_mask: True at queries that are padding and left out, (B, Q).

    Source: our own.

    Raises:
        InputError: if the mask does not fit.
        MissingPackageError: if matplotlib is not installed.
    """
    profile = position_profile(explanation, query_padding_mask=query_padding_mask)
    return _curves(profile) if len(profile.relative) == 1 else _maps(profile)


def _trimmed(profile: PositionProfile) -> PositionProfile:
    """The profile without the relative positions at either end of an axis that no pair has."""
    weight, relative = profile.weight, list(profile.relative)
    exists = ~weight.isnan().all(0)
    for axis, positions in enumerate(relative):
        others = [other for other in range(len(relative)) if other != axis]
        along = (exists.any(others[0]) if others else exists).nonzero()[:, 0]
        if len(along):
            first, last = int(along[0]), int(along[-1])
            weight = weight.narrow(axis + 1, first, last - first + 1)
            relative[axis] = positions[first : last + 1]
    return PositionProfile(weight, tuple(relative))


def _curves(profile: PositionProfile) -> "Figure":
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    for head, weight in enumerate(profile.weight.numpy()):
        color = PALETTE[head % len(PALETTE)]
        line = _LINES[head // len(PALETTE) % len(_LINES)]
        exists = ~np.isnan(weight)
        marker: dict[str, Any] = {"marker": "o", "markersize": 4} if exists.sum() < 2 else {}
        axes.plot(
            profile.relative[0], weight, color=color, linestyle=line, label=f"head {head}", **marker
        )
    axes.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set(xlabel="position, key - query", ylabel="mean weight")
    whole_ticks(axes.xaxis)
    axes.set_ylim(bottom=0)
    axes.set_title("Attention by relative position")
    axes.spines[["top", "right"]].set_visible(False)
    columns = -(-len(profile.weight) // 12)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False, ncols=columns)
    return figure


def _maps(profile: PositionProfile) -> "Figure":
    heads, height, width = profile.weight.shape
    columns = min(heads, _COLUMNS)
    rows = -(-heads // columns)
    unit = _SIDE / max(height, width)
    size = (columns * (width * unit + 0.3) + 1.8, rows * (height * unit + 0.4) + 0.6)
    figure = new_figure(*size, "compressed")
    grid = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
    finite = profile.weight[~profile.weight.isnan()]
    highest = float(finite.max()) if len(finite) else 0.0
    down, across = profile.relative
    extent = (across[0] - 0.5, across[-1] + 0.5, down[-1] + 0.5, down[0] - 0.5)
    heat = None
    for number, axes in enumerate(grid.flat):
        if number >= heads:
            axes.set_axis_off()
            continue
        axes.set_facecolor(MASKED)
        values = np.ma.masked_invalid(profile.weight[number].numpy())
        heat = axes.imshow(
            values,
            cmap=COLORMAP,
            vmin=0,
            vmax=highest or 1.0,
            extent=extent,
            interpolation="nearest",
        )
        axes.plot([0], [0], marker="+", color="white", markersize=7, markeredgewidth=1)
        axes.set_title(f"head {number}", fontsize=9)
        whole_ticks(axes.xaxis, axes.yaxis, most=5)
        if number % columns == 0:
            axes.set_ylabel("rows, key - query")
        if number + columns >= heads:
            axes.set_xlabel("columns, key - query")
            axes.tick_params(labelbottom=True)
    if heat is not None:
        add_colorbar(figure, heat, list(grid.flat), "mean weight")
    return figure


def _relative_index(
    explanation: Explanation,
) -> tuple[Int64[Tensor, "q k"], tuple[range, ...]]:
    """For each pair the number of its relative position, and the relative positions by axis."""
    grid = explanation.grid
    by_axis = [grid.relative_matrix(axis, torch.device("cpu")) for axis in range(grid.ndim)]
    if explanation.query is not None:
        by_axis = [
            each[position : position + 1]
            for each, position in zip(by_axis, explanation.query, strict=True)
        ]
    relative = tuple(range(int(matrix.min()), int(matrix.max()) + 1) for matrix in by_axis)
    index = by_axis[0] - relative[0].start
    if grid.ndim == 2:
        columns = by_axis[1] - relative[1].start
        both = index[:, None, :, None] * len(relative[1]) + columns[None, :, None, :]
        index = both.flatten(2).flatten(0, 1)
    return index, relative


def _support_of(explanation: Explanation, example: int, head: int) -> Bool[Tensor, "q k"]:
    """True at the pairs of an example and a head that may attend."""
    shape = explanation.weights.shape[2:]
    mask = explanation.support
    if mask is None:
        return torch.ones(shape, dtype=torch.bool)
    of_example = mask[example if mask.shape[0] > 1 else 0]
    return of_example[head if of_example.shape[0] > 1 else 0].expand(shape)
