"""Names beside the points of a plot, moved about until they cover nothing.

Each name tries places around its point, near ones first, and takes the first where it touches
no point and no name before it; where every place is taken, the one that covers least.
"""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.text import Annotation
    from matplotlib.transforms import Bbox

_Direction = tuple[
    float, float, Literal["left", "right", "center"], Literal["center", "bottom", "top"]
]
_Place = tuple[int, _Direction]

_DIRECTIONS: tuple[_Direction, ...] = (
    (1, 0, "left", "center"),
    (-1, 0, "right", "center"),
    (0.75, 0.75, "left", "bottom"),
    (-0.75, 0.75, "right", "bottom"),
    (0.75, -0.75, "left", "top"),
    (-0.75, -0.75, "right", "top"),
    (0, 1, "center", "bottom"),
    (0, -1, "center", "top"),
)
_RADII = (7, 13, 21)
_POINT = 4.0


def place_labels(
    figure: "Figure",
    axes: "Axes",
    points: Sequence[tuple[float, float]],
    names: Sequence[str],
    colors: Sequence[str],
) -> "list[Annotation]":
    """Write each name beside its point (in data coordinates), and return the texts."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    figure.set_layout_engine("none")  # so that nothing moves from here on
    renderer, frame = canvas.get_renderer(), axes.get_window_extent()
    taken = [_square(axes, point) for point in points]
    placed: list[Annotation] = []
    for point, name, color in zip(points, names, colors, strict=True):
        costs: dict[_Place, float] = {}
        for place in itertools.product(_RADII, _DIRECTIONS):
            label = _write(axes, point, name, color, place)
            costs[place] = _covered(label.get_window_extent(renderer), taken, frame)
            label.remove()
            if not costs[place]:
                break
        placed.append(_write(axes, point, name, color, min(costs, key=costs.__getitem__)))
        taken.append(placed[-1].get_window_extent(renderer))
    return placed


def _write(
    axes: "Axes", point: tuple[float, float], name: str, color: str, place: _Place
) -> "Annotation":
    radius, (right, up, horizontal, vertical) = place
    return axes.annotate(
        name,
        point,
        xytext=(right * radius, up * radius),
        textcoords="offset points",
        ha=horizontal,
        va=vertical,
        color=color,
        fontsize=9.5,
    )


def _covered(box: "Bbox", taken: "Sequence[Bbox]", frame: "Bbox") -> float:
    from matplotlib.transforms import Bbox

    inside = Bbox.intersection(box, frame)
    outside = box.width * box.height - (inside.width * inside.height if inside else 0.0)
    overlaps = (Bbox.intersection(box, other) for other in taken)
    return max(0.0, outside) + sum(one.width * one.height for one in overlaps if one)


def _square(axes: "Axes", point: tuple[float, float]) -> "Bbox":
    from matplotlib.transforms import Bbox

    x, y = axes.transData.transform(point)
    return Bbox.from_extents(x - _POINT, y - _POINT, x + _POINT, y + _POINT)
