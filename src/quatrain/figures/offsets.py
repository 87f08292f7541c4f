"""Figures of the sampling offsets of deformable convolution and deformable attention.

    with quatrain.capture_offsets(network, at="layer4.*") as calls:
        network(images)
    plot_offsets(calls["layer4.0.conv2"][0], images[0]).savefig("offsets.png")

Shapes: b batch, p output positions, d offset groups, m taps, n axes.
"""

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float
from torch import Tensor

from quatrain.figures.canvas import (
    COLORMAP,
    PALETTE,
    Frame,
    add_colorbar,
    check_index,
    grey_image,
    map_frame,
    new_figure,
    show_image,
    whole_ticks,
)
from quatrain.nn import SamplingOffsets
from quatrain.specs import InputError
from quatrain.specs.errors import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONG_SIDE = 5.0
_BAR = 1.2
_MOST_ARROWS = 32
_LINES = ("-", "--", ":", "-.")


def plot_offsets(
    sampling: SamplingOffsets,
    image: Tensor | np.ndarray | None = None,
    *,
    query: tuple[int, int] | None = None,
    batch: int = 0,
    group: int = 0,
) -> "Figure":
    """The sampling offsets of a deformable convolution over its input.

    On a map without `query`, an arrow at each output position is the mean offset of its taps, of
    true length, coloured by it; of large maps every n-th position is shown. With `query`, arrows
    lead from the regular to the displaced position of each tap of that output; with modulation,
    points are coloured by it. On a sequence, a line shows the offset of each tap by position.

    Args:
        sampling: of one call, from `capture_offsets` or `DeformableConv.explain`.
        image: the image that the input map covers, padding included: (3, H, W), (H, W, 3) or
            (H, W), of any size and range of values. Positions and offsets are then in its pixels;
            without it in cells of the input map.
        query: row and column of an output position of a map, from 0.
        batch: number of the example in the batch.
        group: number of the offset group.

    Source: figures of single outputs as in Dai et al. 2017, https://arxiv.org/abs/1703.06211,
        figure 6.

    Raises:
        InputError: if an argument is out of range, or `image` or `query` are of no use on a
            sequence.
        MissingPackageError: if matplotlib is not installed.
    """
    examples, _, groups, _, axes = sampling.offset.shape
    check_index(batch, examples, "batch")
    check_index(group, groups, "group")
    if axes == 1:
        for name, value in (("image", image), ("query", query)):
            if value is not None:
                raise InputError(f"{name} is for maps, and sampling is of a sequence", name)
        return _lines(sampling, batch, group)
    background = grey_image(image)
    frame = map_frame(sampling.taps.sizes, background)
    height, width = (size * scale for size, scale in zip(frame.sizes, frame.scale, strict=True))
    unit = _LONG_SIDE / max(height, width)
    figure = new_figure(width * unit + 2 * _BAR, height * unit + _BAR, "compressed")
    canvas = figure.add_subplot(aspect="equal")
    show_image(canvas, background)
    if query is None:
        arrows = _draw_field(canvas, sampling, frame, (batch, group))
        add_colorbar(figure, arrows, canvas, f"length of the mean offset [{frame.unit}]")
    else:
        points = _draw_taps(canvas, sampling, frame, (batch, group), query)
        if sampling.modulation is not None:
            add_colorbar(figure, points, canvas, "modulation")
    return figure


def _draw_field(
    axes: "Axes", sampling: SamplingOffsets, frame: Frame, chosen: tuple[int, int]
) -> Any:
    """An arrow of the mean offset at each output position, or at every n-th of them."""
    batch, group = chosen
    rows, columns = sampling.output_sizes
    step = max(1, -(-max(rows, columns) // _MOST_ARROWS))
    mean = _array(sampling.offset[batch, :, group].mean(1)).reshape(rows, columns, 2)
    mean = (mean * np.array(frame.scale))[::step, ::step].reshape(-1, 2)
    starts = _array(sampling.queries).reshape(rows, columns, 2)[::step, ::step].reshape(-1, 2)
    starts = frame.place(starts)
    length = np.linalg.norm(mean, axis=1)
    arrows = axes.quiver(
        starts[:, 1],
        starts[:, 0],
        mean[:, 1],
        mean[:, 0],
        length,
        cmap=COLORMAP,
        clim=(0, float(length.max()) or 1.0),
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.004,
    )
    frame.limit(axes)
    every = "" if step == 1 else f", every {step} positions"
    axes.set_title(f"Mean offset of {sampling.offset.shape[3]} taps{every}")
    return arrows


def _draw_taps(
    axes: "Axes",
    sampling: SamplingOffsets,
    frame: Frame,
    chosen: tuple[int, int],
    query: tuple[int, int],
) -> Any:
    """The regular and displaced taps of one output position."""
    batch, group = chosen
    rows, columns = sampling.output_sizes
    if len(query) != 2 or not (0 <= query[0] < rows and 0 <= query[1] < columns):
        message = f"query={shorten(query)} is not among {rows} rows and {columns} columns"
        raise InputError(f"{message} of the output; count from 0", "query")
    number = query[0] * columns + query[1]
    regular = frame.place(_array(sampling.regular[number]))
    displaced = frame.place(_array(sampling.positions[batch, number, group]))
    moved = displaced - regular
    axes.quiver(
        regular[:, 1],
        regular[:, 0],
        moved[:, 1],
        moved[:, 0],
        color="0.45",
        angles="xy",
        scale_units="xy",
        scale=1,
        width=0.004,
        zorder=2,
    )
    hollow = {"facecolors": "white", "edgecolors": "black", "s": 12, "zorder": 3}
    axes.scatter(regular[:, 1], regular[:, 0], **hollow, label="regular")
    colors: dict[str, Any] = {"color": PALETTE[1]}
    if sampling.modulation is not None:
        modulation = _array(sampling.modulation[batch, number, group])
        low, high = min(0.0, modulation.min()), max(1.0, modulation.max())
        colors = {"c": modulation, "cmap": COLORMAP, "vmin": low, "vmax": high}
    points = axes.scatter(
        displaced[:, 1], displaced[:, 0], s=18, **colors, zorder=4, label="displaced"
    )
    center = frame.place(_array(sampling.queries[number]))
    axes.plot(
        [center[1]], [center[0]], "x", color=PALETTE[0], markersize=6, zorder=5, label="query"
    )
    frame.limit(axes)
    _include(axes, np.concatenate((regular, displaced)))
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=3, frameon=False)
    axes.set_title(f"Taps of row {query[0]}, column {query[1]}")
    return points


def _include(axes: "Axes", points: Float[np.ndarray, "m 2"]) -> None:
    """Extend the limits so that taps outside the map are visible, up to half its size."""
    (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
    reach = np.array((bottom - top, right - left)) / 2
    margin = reach / 20
    low = np.maximum(points.min(0) - margin, np.array((top, left)) - reach)
    high = np.minimum(points.max(0) + margin, np.array((bottom, right)) + reach)
    axes.set(
        xlim=(min(left, low[1]), max(right, high[1])), ylim=(max(bottom, high[0]), min(top, low[0]))
    )


def _lines(sampling: SamplingOffsets, batch: int, group: int) -> "Figure":
    """The offset of each tap along a sequence."""
    figure = new_figure(6, 3.5)
    axes = figure.add_subplot()
    moved = _array(sampling.positions[batch, :, group, :, 0] - sampling.regular[..., 0])
    at = _array(sampling.queries[:, 0])
    center = _array(sampling.regular[0, :, 0]) - at[0]
    is_kernel = len(center) == 1 or center.any()
    for tap, place in enumerate(center):
        color = PALETTE[tap % len(PALETTE)]
        line = _LINES[tap // len(PALETTE) % len(_LINES)]
        style: dict[str, Any] = {
            "color": color,
            "linestyle": line,
            "label": _tap_label(place) if is_kernel else f"point {tap + 1}",
        }
        axes.plot(at, moved[:, tap], marker="o", markersize=3, **style)
    axes.axhline(0, color="0.6", linewidth=0.8, zorder=0)
    axes.set(
        xlabel="position of the query", ylabel="offset [positions]", title="Offset of each tap"
    )
    whole_ticks(axes.xaxis)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _tap_label(place: float) -> str:
    return "tap 0" if place == 0 else f"tap {place:+.0f}"


def _array(x: Tensor) -> Float[np.ndarray, "..."]:
    return x.detach().double().cpu().numpy()
