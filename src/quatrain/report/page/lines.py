"""Learning curves and residuals as SVG, one panel for each group."""

from collections.abc import Sequence

from quatrain.report.curves import Curve
from quatrain.report.page.svg import COLORS, Scale, axes, scale_around, tag, text_width
from quatrain.report.text import shorten_name, title_of
from quatrain.results.fit import Fit
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

WIDTH, HEIGHT = 560.0, 300.0
LEFT, TOP, BOTTOM = 52.0, 30.0, 46.0
LABEL, LABEL_LETTERS, LINE = 10.0, 22, 12.0
MOST_LABELS = int((HEIGHT - TOP - BOTTOM) // LINE)
"""Labels that fit at the right of a panel."""
POINTS = 120
"""Points of a curve that are drawn."""
DASHES = (None, "6 3", "2 3", "8 3 2 3")


def curves_svg(curves: Sequence[Curve]) -> Markup:
    """The curves of one metric in one group, each with its name at its end.

    The vertical axis fits the steps after the first tenth. Where names do not fit, those of the
    first cells are written.
    """
    names = [shorten_name(curve.cell, LABEL_LETTERS) for curve in curves]
    named = range(len(curves)) if len(curves) <= MOST_LABELS else range(MOST_LABELS)
    widest = max(text_width(names[n], LABEL) for n in named)
    x = _steps(curves, WIDTH - widest - 14)
    y = scale_around(_late(curves), HEIGHT - BOTTOM, TOP, margin=0.05)
    ends = [min(max(y(curve.values[-1]), TOP), HEIGHT - BOTTOM) for curve in curves]
    tops = dict(zip(named, spread([ends[n] for n in named], (TOP, HEIGHT - BOTTOM)), strict=True))
    title = title_of(curves[0].name)
    clip = tag("svg", *(_line(curve, n, x, y) for n, curve in enumerate(curves)),
               x=LEFT, y=TOP, width=x.end - LEFT, height=HEIGHT - BOTTOM - TOP,
               viewBox=f"{LEFT} {TOP} {x.end - LEFT:.2f} {HEIGHT - BOTTOM - TOP:.2f}")  # fmt: skip
    labels = [
        tag("g",
            tag("line", x1=x.end + 1, y1=ends[n], x2=x.end + 7, y2=top, class_="leader"),
            tag("text", names[n], x=x.end + 9, y=top + 3.5, class_="label small"),
            class_=f"c{n % COLORS}")
        for n, top in tops.items()
    ]  # fmt: skip
    return tag(
        "svg",
        axes(x, y, "step", title),
        clip,
        *labels,
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="img",
        aria_label=f"{title} over steps in group {curves[0].group}, {len(curves)} curves",
    )


def residuals_svg(group: str, fitted: Fit, title: str) -> Markup:
    """Residuals against fitted values; a good fit has no pattern."""
    residuals = fitted.residuals
    own = {cell: list(by_seed.values()) for cell, by_seed in fitted.values.items()}
    pairs = [
        (fitted.values[cell][seed] - residual, residual)
        for (cell, seed), residual in residuals.items()
    ]
    x = scale_around([at for at, _ in pairs], LEFT, WIDTH - 12)
    y = scale_around([0.0, *(residual for _, residual in pairs)], HEIGHT - BOTTOM, TOP)
    dots = "".join(f"M{x(at):.1f} {y(residual):.1f}h0" for at, residual in pairs)
    return tag(
        "svg",
        axes(x, y, f"fitted {title}", "residual"),
        tag("line", class_="zero", x1=LEFT, x2=WIDTH - 12, y1=y(0.0), y2=y(0.0)),
        tag("path", d=dots, class_="dots"),
        viewBox=f"0 0 {WIDTH:.0f} {HEIGHT:.0f}",
        role="img",
        aria_label=f"{len(pairs)} residuals of {len(own)} cells in group {group}, by fitted value",
    )


def spread(places: Sequence[float], bounds: tuple[float, float]) -> list[float]:
    """Places of labels at least a line apart and within bounds, in the order of their points.

    Example:
        >>> spread([50, 50, 90], (0, 200))
        [50, 62.0, 90]
    """
    order = sorted(range(len(places)), key=lambda n: places[n])
    found = list(places)
    least = bounds[0]
    for n in order:
        found[n] = max(found[n], least)
        least = found[n] + LINE
    most = bounds[1]
    for n in reversed(order):
        found[n] = min(found[n], most)
        most = found[n] - LINE
    return found


def _steps(curves: Sequence[Curve], right: float) -> Scale:
    first = min(curve.steps[0] for curve in curves)
    last = max(curve.steps[-1] for curve in curves)
    start = 0 if first <= last / 5 else first
    return Scale(start, last if last > start else start + 1, LEFT, right)


def _late(curves: Sequence[Curve]) -> list[float]:
    """The values after a tenth of the steps."""
    begin = max(curve.steps[-1] for curve in curves) / 10
    return [
        value
        for curve in curves
        for step, value in zip(curve.steps, curve.values, strict=True)
        if step >= begin
    ]


def _line(curve: Curve, number: int, x: Scale, y: Scale) -> Markup:
    every = max(1, len(curve.steps) // POINTS)
    points = [*zip(curve.steps, curve.values, strict=True)]
    shown = points[::-every][::-1]
    path = " ".join(f"{x(step):.1f},{y(value):.1f}" for step, value in shown)
    name = tag("title", f"{curve.cell}: {curve.values[-1]:.4g} at step {curve.steps[-1]:,}")
    color = f"c{number % COLORS}"
    if len(points) == 1:
        return tag("circle", name, cx=x(points[0][0]), cy=y(points[0][1]), r=3, class_=color)
    dash = DASHES[number // COLORS % len(DASHES)]
    return tag("polyline", name, points=path, class_=f"curve {color}", stroke_dasharray=dash)
