"""Pictures of a run: panels beside each other, with captions, written whole.

    image, scale = fit(to_image(pixels))
    write_picture(folder / "found-7.png", arrange([Panel("truth", image), Panel("found", other)]))

Everything here is Pillow's RGB, rows from the top, and the same for the same input.
"""

import io
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from quatrain.results import write_atomically

SIDE = 400
"""Pixels of the longer side of a panel: large enough to see, small enough for a page of many."""
INK, PAPER = (31, 35, 40), (255, 255, 255)
GAP = 8
"""Pixels between panels, and around all of them."""

_TEXT = 13
_LINE = 18
TAG_HEIGHT = _LINE - 2
"""Pixels from the top of a tag to its bottom."""


class Panel(NamedTuple):
    """An image, and the line that stands above it."""

    caption: str
    image: Image.Image


class Swatch(NamedTuple):
    """A colour, red green blue, and what it stands for."""

    color: tuple[int, int, int]
    name: str


def to_image(pixels: UInt8[Tensor, "3 h w"]) -> Image.Image:
    """The pixels as an image of Pillow's."""
    return Image.fromarray(np.ascontiguousarray(pixels.cpu().permute(1, 2, 0).numpy()))


def fit(image: Image.Image) -> tuple[Image.Image, tuple[float, float]]:
    """The image in the size of a panel, and by how much it grew along x and y.

    A small image grows by a whole number, each pixel a square; a large one shrinks to `SIDE`.
    """
    size = fitted(image.size)
    grows = size[0] >= image.width
    how = Image.Resampling.NEAREST if grows else Image.Resampling.LANCZOS
    return image.resize(size, how), (size[0] / image.width, size[1] / image.height)


def fitted(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height in a panel of an image of that width and height."""
    longer = max(size)
    factor = SIDE // longer if longer <= SIDE else SIDE / longer
    return max(round(size[0] * factor), 1), max(round(size[1] * factor), 1)


def arrange(
    panels: Sequence[Panel],
    *,
    title: str = "",
    legend: Sequence[Swatch] = (),
    columns: int | None = None,
) -> Image.Image:
    """Panels in rows of `columns` (default: one row), below a title and above a legend.

    All panels get the room of the largest, and as much more as the longest caption needs.
    """
    columns = min(columns or len(panels), len(panels))
    width = max(max(panel.image.width, text_width(panel.caption)) for panel in panels)
    height = max(panel.image.height for panel in panels) + _LINE
    rows = -(-len(panels) // columns)
    across = max(columns * (width + GAP) + GAP, text_width(title) + 2 * GAP)
    top = GAP + (_LINE if title else 0)
    entries = _entries(legend, across)
    down = top + rows * (height + GAP) + (entries[-1][1] + _LINE + GAP if entries else 0)
    whole = Image.new("RGB", (across, down), PAPER)
    draw = ImageDraw.Draw(whole)
    _write(draw, (GAP, GAP // 2), title)
    for number, panel in enumerate(panels):
        row, column = divmod(number, columns)
        x, y = GAP + column * (width + GAP), top + row * (height + GAP)
        _write(draw, (x, y), panel.caption)
        whole.paste(panel.image, (x, y + _LINE))
    for (x, y), swatch in zip(entries, legend, strict=True):
        _draw_swatch(draw, (x, y + top + rows * (height + GAP)), swatch)
    return whole


def text_width(text: str) -> int:
    """Pixels that a line of text needs."""
    return int(np.ceil(_font().getlength(_one_line(text))))


def tag(draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, color: tuple[int, ...]) -> None:
    """A line of text on a ground of `color`, moved into the picture where it would leave it."""
    width, height = text_width(text) + 4, TAG_HEIGHT
    whole = draw.im.size
    x = max(min(at[0], whole[0] - width), 0)
    y = max(min(at[1], whole[1] - height), 0)
    draw.rectangle((x, y, x + width - 1, y + height - 1), fill=color)
    bright = 299 * color[0] + 587 * color[1] + 114 * color[2] > 128_000
    _write(draw, (x + 2, y), text, INK if bright else PAPER)


def write_picture(path: Path, picture: Image.Image) -> str:
    """Write a PNG, whole or not at all, and return its name, for the record.

    Raises:
        StudyError: if the folder cannot be written.
    """
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    write_atomically(path, encoded.getvalue())
    return path.name


def _entries(legend: Sequence[Swatch], across: int) -> list[tuple[int, int]]:
    """Where each entry of a legend begins, line after line."""
    places, x, y = [], GAP, 0
    for swatch in legend:
        width = _LINE + text_width(swatch.name) + 2 * GAP
        if x > GAP and x + width > across:
            x, y = GAP, y + _LINE
        places.append((x, y))
        x += width
    return places


def _draw_swatch(draw: ImageDraw.ImageDraw, at: tuple[int, int], swatch: Swatch) -> None:
    x, y = at
    draw.rectangle((x, y + 2, x + 12, y + 14), fill=swatch.color, outline=INK)
    _write(draw, (x + _LINE, y), swatch.name)


def _write(
    draw: ImageDraw.ImageDraw, at: tuple[int, int], text: str, color: tuple[int, ...] = INK
) -> None:
    draw.text(at, _one_line(text), color, _font())


def _one_line(text: str) -> str:
    return " ".join(text.split())


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(_TEXT)
