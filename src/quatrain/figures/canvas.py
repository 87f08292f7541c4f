"""Figures that show themselves in notebooks, without matplotlib's global state.

    figure = new_figure(4, 3)
    axes = figure.add_subplot()

Nothing is registered with pyplot, so figures are freed like other objects, and no window opens.
Colours can be told apart with colour-vision deficiency: "viridis" for values, the palette of Okabe
and Ito for categories.

Shapes: an image is h high and w wide.
"""

import io
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float
from torch import Tensor

from quatrain.results.drawing import default_settings, load_matplotlib
from quatrain.specs import InputError, Term

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.cm import ScalarMappable
    from matplotlib.figure import Figure

    from quatrain.figures.notebook import NotebookFigure

COLORMAP = "viridis"
PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a800")
"""Colours of categories, after Okabe and Ito 2008, https://jfly.uni-koeln.de/color/."""
PLAIN: dict[str, Any] = {"parse_math": False, "usetex": False}
"""Properties of a text in which $, _ and % are ordinary letters: names and tokens."""
MEANINGS = {
    Term.QUERY_KEY: "E1, query and key",
    Term.QUERY_POSITION: "E2, query and position",
    Term.KEY: "E3, key",
    Term.POSITION: "E4, position",
}
"""The name of each term in legends and captions."""
MASKED = "#e6e6e6"
"""The colour of values that do not exist, such as the weights of masked keys."""

Layout = Literal["constrained", "compressed"]


class Frame(NamedTuple):
    """The coordinates of a map in a figure: its cells, or the pixels of the image that it covers.

    `scale` is the size of a cell (vertical, horizontal) in these units. The centre of the first
    cell, or pixel, is at 0.
    """

    sizes: tuple[int, int]
    scale: tuple[float, float]
    unit: Literal["cells", "pixels"]

    def place(self, cells: Float[np.ndarray, "*shape 2"]) -> Float[np.ndarray, "*shape 2"]:
        """The points (y, x) of a figure for coordinates (y, x) in cells."""
        scale = np.array(self.scale)
        return (cells + 0.5) * scale - 0.5

    def extent(self, rows: float, columns: float) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of that many rows and columns of cells."""
        bottom, right = self.place(np.array((rows - 0.5, columns - 0.5)))
        return -0.5, float(right), float(bottom), -0.5

    def limit(self, axes: "Axes") -> None:
        """Show the map, with rows from top to bottom."""
        left, right, bottom, top = self.extent(*self.sizes)
        axes.set(xlim=(left, right), ylim=(bottom, top))
        axes.set_xlabel(f"column [{self.unit}]")
        axes.set_ylabel(f"row [{self.unit}]")
        whole_ticks(axes.xaxis, axes.yaxis)


def new_figure(width: float, height: float, layout: Layout = "constrained") -> "NotebookFigure":
    """An empty figure of that size in inches.

    Raises:
        MissingPackageError: if matplotlib is not installed.
    """
    load_matplotlib()
    from quatrain.figures.notebook import NotebookFigure

    return NotebookFigure(figsize=(width, height), layout=layout)


def render_png(draw: Callable[[], "Figure"]) -> bytes:
    """A figure as a PNG, which is equal for equal data with any settings of the user.

    Raises:
        MissingPackageError: if matplotlib is not installed.
    """
    encoded = io.BytesIO()
    with load_matplotlib().rc_context(default_settings()), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font lacks some scripts
        draw().savefig(encoded, format="png", bbox_inches="tight", metadata={"Software": None})
    return encoded.getvalue()


def map_frame(sizes: tuple[int, ...], image: Float[np.ndarray, "h w"] | None) -> Frame:
    """The frame of a map of those sizes, which covers the image."""
    rows, columns = sizes
    if image is None:
        return Frame((rows, columns), (1.0, 1.0), "cells")
    height, width = image.shape
    return Frame((rows, columns), (height / rows, width / columns), "pixels")


def grey_image(image: Tensor | np.ndarray | None) -> Float[np.ndarray, "h w"] | None:
    """The luminance of an image from 0 to 1, black and white at its minimum and maximum.

    Args:
        image: (3, H, W), (1, H, W), (H, W, 3), (H, W, 1) or (H, W), of any range of values, so
            that the normalized input of a network can be shown.

    Raises:
        InputError: if it has another shape.
    """
    if image is None:
        return None
    if isinstance(image, Tensor):
        image = image.detach().double().cpu().numpy()
    values = np.asarray(image, dtype=np.float64)
    if values.ndim == 3 and values.shape[0] not in {1, 3} and values.shape[2] in {1, 3}:
        values = np.moveaxis(values, 2, 0)
    if values.ndim == 3 and values.shape[0] in {1, 3}:
        luminance = (0.299, 0.587, 0.114) if values.shape[0] == 3 else (1.0,)
        values = np.tensordot(luminance, values, 1)
    if values.ndim != 2 or 0 in values.shape:
        message = f"image has the shape {tuple(image.shape)}"
        raise InputError(f"{message}; pass one image, (3, H, W), (H, W, 3) or (H, W)", "image")
    spread = float(np.ptp(values))
    return (values - values.min()) / (spread or 1.0)


def show_image(axes: "Axes", image: Float[np.ndarray, "h w"] | None) -> None:
    """Draw the grey image below everything else, in pixels."""
    if image is not None:
        axes.imshow(image, cmap="gray", vmin=0, vmax=1, zorder=0, aspect="equal")


def whole_ticks(*axes: "Axis", most: int = 8) -> None:
    """Put about that many ticks, or fewer, at whole numbers of each axis."""
    from matplotlib.ticker import MaxNLocator

    for axis in axes:
        axis.set_major_locator(MaxNLocator(nbins=most, integer=True))


def add_colorbar(
    figure: "NotebookFigure", artist: "ScalarMappable", axes: "Axes | list[Axes]", label: str
) -> None:
    """A colour bar at the right of the axes."""
    figure.colorbar(artist, ax=axes, label=label, shrink=0.9, pad=0.02)


def check_index(value: int, size: int, name: str) -> int:
    """The index if it is from 0 to size - 1.

    Raises:
        InputError: if not.
    """
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < size:
        raise InputError(f"{name}={value!r} is not among 0...{size - 1}", name)
    return value
