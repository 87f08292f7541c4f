"""The figures that are files of a report: SVG that follows light and dark mode by itself."""

from quatrain.report.columns import format_mean
from quatrain.report.page.scatter import HEIGHT, WIDTH, Scatter
from quatrain.report.page.svg import COLORS, SHAPES, asset, tag, text_width
from quatrain.report.tables import NOT_MET, Matrix, ReportRow
from quatrain.report.text import shorten_name, title_of
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

_HEADING = 24.0
_PANEL = HEIGHT + _HEADING
_CELL = (92.0, 40.0)


def accuracy_cost_svg(scatter: Scatter) -> str:
    """Primary metric against cost, with intervals and the front: one panel for each group.

    A group of a single cell has no panel, unless there are no others.
    """
    title = "Accuracy against cost"
    several = [number for number, points in scatter.drawn.items() if len(points) > 1]
    panels = [
        tag("g", *_panel(scatter, number), transform=f"translate(0 {place * _PANEL:.0f})")
        for place, number in enumerate(several or scatter.drawn)
    ]
    if not panels:
        message = tag("text", "No finished run with counted cost", x=20, y=HEIGHT / 2)
        return _file(title, WIDTH, HEIGHT, [message])
    return _file(title, WIDTH, len(panels) * _PANEL, panels)


def matrix_svg(matrix: Matrix) -> str:
    """The primary metric of each cell, by mechanism and question, and its expected value.

    The fill grows with the metric; a cell that misses its expectation has a thick frame.
    """
    cells, groups = ([shorten_name(n) for n in names] for names in (matrix.cells, matrix.groups))
    widest = max(text_width(name, 12) for name in groups)
    width, height = max(_CELL[0], widest + 12), _CELL[1]
    left, top = max(text_width(name, 12) for name in cells) + 14, 28.0
    rows = matrix.rows.values()
    means = [row.metrics[matrix.metric].mean for row in rows if row.metrics]
    bounds = min(means, default=0.0), max(means, default=0.0)
    parts: list[Markup] = []
    for y, cell in enumerate(matrix.cells):
        middle = top + (y + 0.5) * height
        parts.append(tag("text", cells[y], x=left - 8, y=middle + 4, text_anchor="end"))
        for x, group in enumerate(matrix.groups):
            corner = left + x * width, top + y * height
            row = matrix.rows[cell, group]
            parts += _matrix_cell(row, matrix.metric, corner, (width, height), bounds)
    for x, name in enumerate(groups):
        parts.append(tag("text", name, x=left + (x + 0.5) * width, y=18, text_anchor="middle"))
    bottom = top + len(cells) * height
    legend = f"{title_of(matrix.metric)}, measured (expected)"
    parts.append(tag("text", legend, x=left, y=bottom + 20, class_="title"))
    total = left + max(len(groups) * width, text_width(legend, 12)) + 4
    return _file("Matrix of results", total, bottom + 30, parts)


def _matrix_cell(
    row: ReportRow,
    metric: str,
    corner: tuple[float, float],
    size: tuple[float, float],
    bounds: tuple[float, float],
) -> list[Markup]:
    (x, y), (width, height), (low, high) = corner, size, bounds
    share = (row.metrics[metric].mean - low) / ((high - low) or 1.0) if row.metrics else 0.0
    box = {"x": x, "y": y, "width": width, "height": height}
    parts = [tag("rect", class_="cell", fill_opacity=round(0.35 * share, 3), **box)]
    missed = row.as_expected is False
    if missed:
        inner = {"x": x + 2, "y": y + 2, "width": width - 4, "height": height - 4}
        parts.append(tag("rect", class_="missed", **inner))
    expected = row.expected.bounds if row.expected else ""
    below = f"({expected}) {NOT_MET}" if missed else f"({expected})" if expected else ""
    middle = x + width / 2
    parts.append(
        tag("text", format_mean(row, metric), x=middle, y=y + (18 if below else 25),
            text_anchor="middle")
    )  # fmt: skip
    if below:
        parts.append(tag("text", below, x=middle, y=y + 32, text_anchor="middle", class_="label"))
    return parts


def _panel(scatter: Scatter, number: int) -> list[Markup]:
    """The name of a group with its marker, and its part of the figure."""
    shape = SHAPES[number % len(SHAPES)]
    marker = tag("path", d=shape, transform="translate(12 12)")
    return [
        tag("g", marker, class_=f"point c{number % COLORS}"),
        tag("text", shorten_name(scatter.groups[number]), x=22, y=16),
        tag("g", *scatter.draw([number]), transform=f"translate(0 {_HEADING:.0f})"),
    ]


def _file(title: str, width: float, height: float, parts: list[Markup]) -> str:
    content = tag(
        "svg",
        tag("title", title),
        tag("style", asset("figure.css")),
        *parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:.0f} {height:.0f}",
        width=round(width),
        height=round(height),
    )
    return f"{content}\n"
