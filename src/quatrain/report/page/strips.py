"""Intervals and bars as SVG in the cells of a table, on a common scale.

Coordinates are percentages of the width of the column, so that a figure fits any page. Each row of
the table also has the numbers, so the drawings are hidden from screen readers.
"""

from collections.abc import Sequence
from itertools import pairwise

from quatrain.report.page.svg import Scale, scale_around, tag, text_width, ticks, write_tick
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

HEIGHT, MIDDLE, BELOW = 20, 10, 17
GLYPHS = {
    "higher": "M0-5 5 4H-5z",
    "lower": "M0 5 5-4H-5z",
    "equivalent": "M-4.5-4.5H4.5V4.5H-4.5z",
    "yes": "M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0-9 0z",
    "part": "M0-4.8a4.8 4.8 0 1 0 0 9.6a4.8 4.8 0 1 0 0-9.6zM0-3.2a3.2 3.2 0 0 1 0 6.4z",
    "no": "M-4.5-2.8-2.8-4.5 0-1.7 2.8-4.5 "
    "4.5-2.8 1.7 0 4.5 2.8 2.8 4.5 0 1.7-2.8 4.5-4.5 2.8-1.7 0z",
    "open": "M-3.8 0a3.8 3.8 0 1 0 7.6 0a3.8 3.8 0 1 0-7.6 0z",
}
"""The shape of each verdict: triangles up and down, square, disc, half disc, cross and ring."""


def glyph(kind: str) -> Markup:
    """The shape of a verdict, in the size of a letter."""
    path = tag("path", d=GLYPHS[kind])
    return tag(
        "svg", path, class_=f"glyph {kind}", viewBox="-6 -6 12 12", width=12, height=12,
        aria_hidden="true",
    )  # fmt: skip


def percent_scale(values: Sequence[float]) -> Scale:
    """A scale of all values and zero, in percent of the width."""
    return scale_around([0.0, *values], 3.0, 97.0, margin=0.02)


def interval(
    scale: Scale,
    value: float,
    bounds: tuple[float | None, float | None],
    kind: str,
    *,
    published: float | None = None,
    thin: tuple[float, float] | None = None,
    filled: bool = False,
) -> Markup:
    """An interval with its verdict's shape at the estimate; a hollow diamond is published.

    With `thin` a second interval is a thin bar below; with `filled` a bar from zero to the estimate
    lies under the interval.
    """
    low, high = bounds
    parts = [_box(scale, value, "share")] if filled else []
    parts.append(_zero(scale))
    if low is not None and high is not None:
        parts.append(_line(scale, (low, high), f"bar {kind}", MIDDLE))
    if thin is not None:
        parts.append(_line(scale, thin, "thin", BELOW))
    if published is not None:
        parts.append(_shape(scale(published), "M0-5 5 0 0 5-5 0z", "published"))
    parts.append(_shape(scale(value), GLYPHS[kind], kind))
    return _strip(*parts)


def bar(scale: Scale, value: float) -> Markup:
    """A bar from zero to a value."""
    return _strip(_box(scale, value, "price"), _zero(scale))


def axis(scale: Scale) -> Markup:
    """The ticks of a column of strips."""
    texts = [
        tag("text", write_tick(at), x=_percent(scale(at)), y=12, text_anchor="middle")
        for at in _spaced(scale)
    ]
    return tag("svg", *texts, class_="strip axis", width="100%", height=16, aria_hidden="true")


def _spaced(scale: Scale) -> list[float]:
    """Ticks whose labels do not touch in a column of 110 pixels."""
    for most in (5, 4, 3, 2, 1):
        found = ticks(scale.low, scale.high, most)
        widths = [text_width(write_tick(at), 11) for at in found]
        gaps = [1.1 * (scale(b) - scale(a)) for a, b in pairwise(found)]
        if found and all(gap > max(widths) + 4 for gap in gaps):
            return found
    return [0.0]


def _box(scale: Scale, value: float, kind: str) -> Markup:
    start, end = sorted((scale(0.0), scale(value)))
    box = {"x": _percent(start), "width": _percent(max(end - start, 0.3))}
    return tag("rect", class_=kind, y=5, height=10, **box)


def _line(scale: Scale, bounds: tuple[float, float], kind: str, y: int) -> Markup:
    start, end = (_percent(scale(bound)) for bound in bounds)
    return tag("line", class_=kind, x1=start, x2=end, y1=y, y2=y)


def _zero(scale: Scale) -> Markup:
    at = _percent(scale(0.0))
    return tag("line", class_="zero", x1=at, x2=at, y1=0, y2=HEIGHT)


def _shape(place: float, path: str, kind: str) -> Markup:
    """A shape that keeps its size where the strip is stretched."""
    inner = tag("path", d=path, class_=kind)
    return tag("svg", inner, x=_percent(place), y=MIDDLE, overflow="visible")


def _strip(*parts: Markup) -> Markup:
    return tag("svg", *parts, class_="strip", width="100%", height=HEIGHT, aria_hidden="true")


def _percent(value: float) -> str:
    return f"{value:.2f}%"
