"""Pictures of captioned image panels with boxes and a legend, rendered by matplotlib.

    picture = draw_panels([Panel("ground truth", image, boxes), Panel("detections", image)])
    write_picture(folder / "detection-7.png", picture)

Pictures are Pillow's RGB images, and equal for equal input, with any settings of the user.

Shapes: an image is h high and w wide.
"""

import io
import textwrap
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from quatrain.results import write_atomically
from quatrain.results.drawing import default_settings, load_matplotlib

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Color = tuple[int, int, int]
"""Red, green and blue, 0...255."""

# In inches: the longer side of a panel, the space between panels, a line and a letter of text.
_SIDE, _GAP, _LINE, _LETTER = 4.0, 0.1, 0.17, 0.07
_DPI = 100
_FONT_SIZE = 9


class Box(NamedTuple):
    """A box x0 y0 x1 y1 in pixels of its image, with a label."""

    corners: tuple[float, float, float, float]
    color: Color
    label: str = ""


class Panel(NamedTuple):
    """An image with boxes, below a caption."""

    caption: str
    image: UInt8[np.ndarray, "h w 3"]
    boxes: Sequence[Box] = ()
    interpolation: str = "auto"
    """Matplotlib's interpolation: "auto" averages when an image is reduced, "nearest" never."""


def to_array(image: UInt8[Tensor, "3 h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The pixels with their channels last, on the CPU."""
    return np.ascontiguousarray(image.cpu().permute(1, 2, 0).numpy())


def draw_panels(
    panels: Sequence[Panel],
    *,
    title: str = "",
    legend: Mapping[str, Color] | None = None,
    columns: int | None = None,
) -> Image.Image:
    """Panels of equally large images in rows of `columns` (default: one row).

    Args:
        panels: At least one; small images are enlarged, large ones reduced.
        title: A line above the panels.
        legend: The colour of each name, shown below the panels.
        columns: The panels of a row.
    """
    mpl = load_matplotlib()
    from matplotlib.figure import Figure

    columns = min(columns or len(panels), len(panels))
    rows = -(-len(panels) // columns)
    size = np.array(panels[0].image.shape[:2])
    height, width = _SIDE * size / size.max()
    captions = [textwrap.fill(_one_line(panel.caption), round(_SIDE / _LETTER)) for panel in panels]
    pitch = height + _GAP + _LINE * max(caption.count("\n") + 1 for caption in captions)
    across, down = columns * (_SIDE + _GAP), rows * pitch
    with mpl.rc_context({**default_settings(), "text.parse_math": False}):
        figure = Figure(figsize=(across, down), dpi=_DPI)
        for index, (panel, caption) in enumerate(zip(panels, captions, strict=True)):
            row, column = divmod(index, columns)
            left, bottom = column * (_SIDE + _GAP), down - row * pitch - pitch
            axes = figure.add_axes((left / across, bottom / down, width / across, height / down))
            axes.set_title(caption, loc="left", fontsize=_FONT_SIZE, pad=3)
            _draw_panel(axes, panel)
        figure.text(0, 1, _one_line(title), fontsize=_FONT_SIZE, va="bottom")
        _draw_legend(figure, {_one_line(name): color for name, color in (legend or {}).items()})
        return _render(figure)


def write_picture(path: Path, picture: Image.Image) -> str:
    """Write a PNG atomically and return its name, for the record.

    Raises:
        StudyError: if the folder cannot be written.
    """
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    write_atomically(path, encoded.getvalue())
    return path.name


def _draw_panel(axes: "Axes", panel: Panel) -> None:
    from matplotlib.patches import Rectangle

    height, width = panel.image.shape[:2]
    axes.imshow(panel.image, extent=(0, width, height, 0), interpolation=panel.interpolation)
    axes.set_axis_off()
    for (x0, y0, x1, y1), color, label in panel.boxes:
        axes.add_patch(
            Rectangle((x0, y0), x1 - x0, y1 - y0, fill=False, ec=_unit(color), linewidth=1.5)
        )
        if not label:
            continue
        at_right, at_top = x0 > 0.75 * width, y0 < 0.06 * height
        axes.text(
            min(x1, width) if at_right else max(x0, 0),
            max(y0, 0),
            _one_line(label),
            ha="right" if at_right else "left",
            va="top" if at_top else "bottom",
            fontsize=_FONT_SIZE - 1,
            color="black" if np.dot(color, (0.299, 0.587, 0.114)) > 128 else "white",
            bbox={"facecolor": _unit(color), "edgecolor": "none", "pad": 1},
            clip_on=True,
        )


def _draw_legend(figure: "Figure", legend: Mapping[str, Color]) -> None:
    from matplotlib.patches import Patch

    if not legend:
        return
    entry = 0.5 + _LETTER * max(map(len, legend))
    figure.legend(
        [Patch(fc=_unit(color), ec="black") for color in legend.values()],
        list(legend),
        loc="upper left",
        bbox_to_anchor=(0, 0),
        ncols=max(int(figure.get_figwidth() / entry), 1),
        fontsize=_FONT_SIZE,
        frameon=False,
        handlelength=1,
        borderaxespad=0.2,
    )


def _render(figure: "Figure") -> Image.Image:
    encoded = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the font lacks some scripts
        figure.savefig(encoded, format="png", bbox_inches="tight", pad_inches=_GAP)
    return Image.open(encoded).convert("RGB")


def _unit(color: Color) -> tuple[float, ...]:
    return tuple(channel / 255 for channel in color)


def _one_line(text: str) -> str:
    return " ".join(text.split())
