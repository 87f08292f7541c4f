"""SVG elements, axes and labels, for figures inside an HTML page.

    axis = Scale(0, 10, 40.0, 700.0)
    tag("circle", cx=axis(3), cy=20, r=4, class_="c0")

Texts and attributes are escaped. Colours are classes of the page's style sheet, so that a figure
follows light and dark mode.
"""

import functools
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources

import numpy as np

from quatrain.report.text import visible
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup, escape
    from rich.cells import cell_len

COLORS = 8
"""Number of colours of groups and lines in the style sheet: classes c0 to c7."""
SHAPES = (
    "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "M-4-4H4V4H-4z",
    "M0-5.4 5 3.8H-5z",
    "M0-5.6 5.6 0 0 5.6-5.6 0z",
    "M0 5.4 5-3.8H-5z",
)
"""Paths of markers around the origin: circle, square, triangle, diamond, triangle down."""
LETTER = 0.64
"""Estimated width of a letter, in sizes of the font."""
PLACES = ((1, -1), (-1, 1), (1, 0), (1, 1), (-1, 0), (-1, -1), (0, 1), (0, -1))
"""Directions (right, down) of labels around their point, in order of preference."""
GAP = 6.0
"""Pixels from the centre of a marker to its label."""

Box = tuple[float, float, float, float]


def tag(name: str, *children: object, **attributes: object) -> Markup:
    """An element; `class_` is class and other underscores are hyphens; None omits an attribute.

    Example:
        >>> tag("text", "a < b", x=1.25, class_="name")
        Markup('<text x="1.25" class="name">a &lt; b</text>')
    """
    listed = "".join(
        f' {_attribute(key)}="{_plain(value)}"'
        for key, value in attributes.items()
        if value is not None
    )
    body = "".join(map(_plain, children))
    return Markup(f"<{name}{listed}>{body}</{name}>")  # noqa: S704 - all parts are escaped


@functools.cache
def asset(name: str) -> Markup:
    """A style sheet or script of the package, without indentation and lines of comments."""
    text = (resources.files("quatrain.report") / "templates" / name).read_text("utf-8")
    text = re.sub(r"^\s*(//.*)?\n|^\s+", "", text, flags=re.MULTILINE)
    return Markup(text)  # noqa: S704 - a file of this package


@functools.cache
def _attribute(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _plain(value: object) -> str:
    """Markup as it is, numbers without needless digits, and other text escaped and visible."""
    if isinstance(value, Markup):
        return value
    if type(value) is int:
        return str(value)
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"
    return str(escape(visible(str(value))))


@dataclass(frozen=True)
class Scale:
    """Values from `low` to `high` as pixels from `start` to `end`, linear or logarithmic."""

    low: float
    high: float
    start: float
    end: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a value."""
        low, high, at = self.low, self.high, max(value, self.floor)
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return self.start + (at - low) / ((high - low) or 1.0) * (self.end - self.start)

    @property
    def floor(self) -> float:
        """The least value that has a pixel."""
        return self.low / 10 if self.log else -math.inf

    @property
    def ticks(self) -> list[float]:
        """Round values from `low` to `high`."""
        return log_ticks(self.low, self.high) if self.log else ticks(self.low, self.high)


def scale_around(values: Sequence[float], start: float, end: float, margin: float = 0.08) -> Scale:
    """A linear scale of all values, with a margin on both sides.

    Example:
        >>> scale_around([0, 10], 0, 100, margin=0.1)
        Scale(low=-1.0, high=11.0, start=0, end=100, log=False)
    """
    low, high = min(values), max(values)
    free = (high - low) * margin or abs(low) * margin or 1.0
    return Scale(low - free, high + free, start, end)


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten, in at most `most` steps.

    Example:
        >>> ticks(0.1, 0.93), ticks(-1, 11)
        ([0.2, 0.4, 0.6, 0.8], [0.0, 2.0, 4.0, 6.0, 8.0, 10.0])
    """
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(
        step for step in (power, 2 * power, 5 * power, 10 * power) if (high - low) / step <= most
    )
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{number * step:.12g}") for number in range(first, last + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten, and 2 and 5 times these where the range has less than three decades.

    Example:
        >>> log_ticks(3, 60)
        [5.0, 10.0, 20.0, 50.0]
    """
    steps = (1, 2, 5) if high / low < 1000 else (1,)
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [float(f"{step * 10.0**decade:.12g}") for decade in decades for step in steps]
    return [value for value in values if low <= value <= high]


def write_tick(value: float) -> str:
    """The label of a tick.

    Example:
        >>> write_tick(-0.5), write_tick(20000.0), write_tick(1e-7)
        ('−0.5', '20,000', '1e−07')
    """
    text = f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.6g}"
    return text.replace("-", "−")


def text_width(text: str, size: float) -> float:
    """The estimated width of a text in a font of this size; letters of double width count twice."""
    return LETTER * size * cell_len(text)


def place_labels(
    points: Sequence[tuple[float, float]], texts: Sequence[str], frame: Box, size: float = 11.0
) -> list[tuple[float, float] | None]:
    """The left end of the baseline of each label; None if it has no free place.

    A label covers no point and no other label. Earlier labels are placed first; all points of the
    figure must be given, and those without a label come last.
    """
    centers = np.array(points, dtype=float).reshape(-1, 2)
    taken = np.concatenate([centers - 5.0, centers + 5.0], axis=1)
    found: list[tuple[float, float] | None] = []
    for (x, y), text in zip(points, texts, strict=False):
        width, height = text_width(text, size), 1.15 * size
        place: tuple[float, float] | None = None
        for dx, dy in PLACES:
            left = x + GAP * dx + (dx - 1) / 2 * width
            top = y + GAP * dy + (dy - 1) / 2 * height
            box = np.array([left - 2, top, left + width + 2, top + height])
            if not _is_free(box, taken, frame):
                continue
            taken = np.vstack([taken, box])
            place = left, top + 0.87 * size
            break
        found.append(place)
    return found


def _is_free(box: np.ndarray, taken: np.ndarray, frame: Box) -> bool:
    if box[0] < frame[0] or box[1] < frame[1] or box[2] > frame[2] or box[3] > frame[3]:
        return False
    return not ((box[:2] < taken[:, 2:]).all(1) & (taken[:, :2] < box[2:]).all(1)).any()


def axes(x: Scale, y: Scale, x_title: str, y_title: str) -> Markup:
    """Ticks, faint horizontal lines and titles of a figure with two axes."""
    left, right = sorted((x.start, x.end))
    top, bottom = sorted((y.start, y.end))
    lines = [
        *(tag("line", class_="grid", x1=left, x2=right, y1=y(at), y2=y(at)) for at in y.ticks),
        tag("line", class_="baseline", x1=left, x2=right, y1=bottom, y2=bottom),
        *(
            tag("line", class_="baseline", x1=x(at), x2=x(at), y1=bottom, y2=bottom + 4)
            for at in x.ticks
        ),
    ]
    texts = [
        *(
            tag("text", write_tick(at), x=left - 7, y=y(at) + 4, text_anchor="end", class_="tick")
            for at in y.ticks
        ),
        *(
            tag("text", write_tick(at), x=x(at), y=bottom + 17, text_anchor="middle", class_="tick")
            for at in x.ticks
        ),
        tag("text", x_title, x=right, y=bottom + 35, text_anchor="end", class_="title"),
        tag("text", y_title, x=2, y=top - 8, class_="title"),
    ]
    return tag("g", *lines, *texts, aria_hidden="true")
