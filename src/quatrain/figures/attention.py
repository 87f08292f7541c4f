"""Figures of attention weights: of one query over an image, and of a sentence as a matrix.

    with quatrain.capture(network, at="layer4.*", query=(3, 5)) as explanations:
        network(images)
    plot_attention_map(explanations["layer4.1.mixer"][0], images[0]).savefig("attention.png")

Shapes: b batch, h heads, q queries, k keys.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from quatrain.figures.canvas import (
    COLORMAP,
    MASKED,
    PLAIN,
    Frame,
    add_colorbar,
    check_index,
    grey_image,
    map_frame,
    new_figure,
    show_image,
)
from quatrain.nn import Explanation
from quatrain.specs import InputError
from quatrain.specs.errors import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MaskedWeights = np.ma.MaskedArray[tuple[int, ...], np.dtype[np.float64]]

_OPACITY = 0.65
_LONG_SIDE = 5.0
_LARGEST_CELL, _LONGEST_AXIS = 0.3, 14.0
_LEAST_WEIGHT = 1e-6
_BAR = 1.2


def plot_attention_map(
    explanation: Explanation,
    image: Tensor | np.ndarray | None = None,
    *,
    query: tuple[int, int] | None = None,
    batch: int = 0,
    head: int | None = None,
) -> "Figure":
    """The attention weights of one query over a map, as a heat map over the image.

    Colours range from 0 to the largest weight. A box marks the query. Keys that it may not attend
    to are not coloured; with a key stride, a key covers all cells up to the next one.

    Args:
        explanation: of attention on maps, from `capture` or `explain`.
        image: the image that the map covers, padding included: (3, H, W), (H, W, 3) or (H, W), of
            any size and range of values. Axes are in its pixels; without it in cells of the map.
        query: row and column in cells of the map, from 0; by default the explained query if there
            is one only, else the centre.
        batch: number of the example in the batch.
        head: number of the head; None for the mean of all.

    Source: our own.

    Raises:
        InputError: if the attention is of a sequence, or an argument is out of range.
        MissingPackageError: if matplotlib is not installed.
    """
    grid = explanation.grid
    if grid.ndim != 2:
        raise InputError("explanation is of a sequence; use plot_alignment", "explanation")
    row, column = at = _query_on_map(explanation, query)
    number = 0 if explanation.query is not None else row * grid.queries[1] + column
    values = _of_head(explanation, batch, head)[number].reshape(grid.keys)
    background = grey_image(image)
    frame = map_frame(grid.queries, background)
    height, width = (size * scale for size, scale in zip(frame.sizes, frame.scale, strict=True))
    unit = _LONG_SIDE / max(height, width)
    figure = new_figure(width * unit + 2 * _BAR, height * unit + _BAR, "compressed")
    axes = figure.add_subplot(facecolor=MASKED)
    show_image(axes, background)
    heat = axes.imshow(
        values,
        cmap=COLORMAP,
        vmin=0,
        vmax=_highest(values),
        extent=frame.extent(*(size * grid.key_stride for size in grid.keys)),
        alpha=1.0 if background is None else _OPACITY,
        interpolation="nearest",
        zorder=1,
    )
    _draw_box(axes, frame, at)
    frame.limit(axes)
    axes.set_title(f"Query at row {row}, column {column}; {_head_name(explanation, head)}")
    add_colorbar(figure, heat, axes, "attention weight")
    return figure


def plot_alignment(
    explanation: Explanation,
    query_tokens: Sequence[str],
    key_tokens: Sequence[str] | None = None,
    *,
    batch: int = 0,
    head: int | None = None,
) -> "Figure":
    """The attention weights of a sentence as a matrix: a row for each query, a column for each key.

    A row adds up to 1, or to 0 if all keys are masked. Pairs that are masked are grey.

    Args:
        explanation: of attention on sequences, from `capture` or `explain`.
        query_tokens: the tokens of the queries. If they are fewer than the queries, the first ones
            are shown, as the others are padding.
        key_tokens: the tokens of the attended sequence, before any key stride; by default those of
            the queries. They may be fewer than the keys if the others have no weight.
        batch: number of the example in the batch.
        head: number of the head; None for the mean of all.

    Source: matrices as in Bahdanau et al. 2015, https://arxiv.org/abs/1409.0473, figure 3.

    Raises:
        InputError: if the attention is of a map, the tokens do not fit, or an argument is out of
            range.
        MissingPackageError: if matplotlib is not installed.
    """
    grid = explanation.grid
    if grid.ndim != 1:
        raise InputError("explanation is of a map; use plot_attention_map", "explanation")
    weights = _of_head(explanation, batch, head)
    keys = query_tokens if key_tokens is None else key_tokens
    rows = _labels(query_tokens, grid.queries[0], "query_tokens")
    columns = _labels(keys, grid.keys[0] * grid.key_stride, "key_tokens")[:: grid.key_stride]
    if explanation.query is not None:
        [position] = explanation.query
        rows = rows[position : position + 1] or [str(position)]
    hidden = float(weights.data[: len(rows), len(columns) :].max(initial=0.0))
    if hidden > _LEAST_WEIGHT:
        text = f"key_tokens has {len(columns)} tokens, and keys after them have weight"
        raise InputError(f"{text}; pass a token for each of {grid.keys[0]} keys", "key_tokens")
    values = weights[: len(rows), : len(columns)]
    cell = min(_LARGEST_CELL, _LONGEST_AXIS / max(values.shape))
    figure = new_figure(
        max(len(columns) * cell, 1.0) + 2 * _BAR, max(len(rows) * cell, 1.0) + _BAR, "compressed"
    )
    axes = figure.add_subplot(facecolor=MASKED)
    heat = axes.imshow(
        values, cmap=COLORMAP, vmin=0, vmax=_highest(values), interpolation="nearest"
    )
    _label_axes(axes, rows, columns, min(9.0, 58 * cell))
    axes.set_title(_head_name(explanation, head).capitalize(), fontsize=10)
    add_colorbar(figure, heat, axes, "attention weight")
    return figure


def _label_axes(axes: "Axes", rows: list[str], columns: list[str], size: float) -> None:
    """Write the tokens of the queries at the left and those of the keys at the top."""
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xticks(range(len(columns)), columns, rotation=90, fontsize=size, **PLAIN)
    axes.set_yticks(range(len(rows)), rows, fontsize=size, **PLAIN)
    axes.tick_params(length=0)
    axes.set(xlabel="key", ylabel="query")


def _draw_box(axes: "Axes", frame: Frame, at: tuple[int, int]) -> None:
    """A white box with a black outline around a cell."""
    from matplotlib.patches import Rectangle
    from matplotlib.patheffects import withStroke

    top, left = frame.place(np.array(at) - 0.5)
    down, across = frame.scale
    box = Rectangle(
        (left, top), across, down, fill=False, edgecolor="white", linewidth=1.5, zorder=3
    )
    box.set_path_effects([withStroke(linewidth=3.5, foreground="black")])
    axes.add_patch(box)


def _query_on_map(explanation: Explanation, query: tuple[int, int] | None) -> tuple[int, int]:
    sizes = explanation.grid.queries
    if explanation.query is not None:
        if query not in (None, explanation.query):
            message = f"query={shorten(query)} is not explained; only {explanation.query} is"
            raise InputError(f"{message}, so leave it out or capture all queries", "query")
        row, column = explanation.query
        return row, column
    at = (sizes[0] // 2, sizes[1] // 2) if query is None else query
    if len(at) != 2 or not all(0 <= each < size for each, size in zip(at, sizes, strict=True)):
        message = f"query={shorten(at)} is not among {sizes[0]} rows and {sizes[1]} columns"
        raise InputError(f"{message}; count cells of the map from 0", "query")
    return at


def _of_head(explanation: Explanation, batch: int, head: int | None) -> MaskedWeights:
    """The weights of an example, of a head or their mean; masked where the support excludes keys.

    In the mean over heads, a key is masked if it is in all of them.
    """
    check_index(batch, explanation.weights.shape[0], "batch")
    if head is not None:
        check_index(head, explanation.weights.shape[1], "head")
    of_heads, mask = explanation.weights[batch].detach().double(), explanation.support
    weights = (of_heads.mean(0) if head is None else of_heads[head]).cpu().numpy()
    if mask is None:
        return np.ma.array(weights)
    support = mask[batch if mask.shape[0] > 1 else 0]
    support = support.any(0) if head is None else support[head if support.shape[0] > 1 else 0]
    return np.ma.array(weights, mask=~np.broadcast_to(support.cpu().numpy(), weights.shape))


def _highest(values: MaskedWeights) -> float:
    """The largest weight, or 1 if all are masked or zero."""
    return float(values.filled(0.0).max()) or 1.0


def _labels(tokens: Sequence[str], positions: int, name: str) -> list[str]:
    """The tokens as strings, if they are no more than the positions."""
    if isinstance(tokens, str):
        raise InputError(f"{name} is one string; pass a list of tokens", name)
    if not 0 < len(tokens) <= positions:
        message = f"{name} has {len(tokens)} tokens for {positions} positions"
        raise InputError(f"{message}; pass the tokens of one sentence", name)
    return [str(token) for token in tokens]


def _head_name(explanation: Explanation, head: int | None) -> str:
    heads = explanation.weights.shape[1]
    if heads == 1:
        return "1 head"
    return f"mean of {heads} heads" if head is None else f"head {head}"
