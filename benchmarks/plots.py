"""The plots of docs/performance.md, drawn from the rows of a benchmark."""

from collections.abc import Callable, Sequence

from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.figure import COLORS, open_figure, to_svg
from benchmarks.result import Row

DRAWN = ("0010", "0011", "0110", "1000", "1111")
"""One term set for each method; 1000 uses torch's kernel."""
_LEAST_TICK_RATIO = 1.2
"""The least ratio of two sizes that both get a tick label."""


def time_svg(rows: Sequence[Row]) -> str:
    """Plot milliseconds against positions, ours and dense, one panel per pass."""
    return _plot_against_size(rows, "ms", "time / dense", "attention-time")


def memory_svg(rows: Sequence[Row]) -> str:
    """Plot peak memory against positions, ours and dense, one panel per pass."""
    return _plot_against_size(rows, "MiB", "memory / dense", "attention-memory")


def _plot_against_size(rows: Sequence[Row], unit: str, ratio: str, label: str) -> str:
    squares = [row for row in rows if "/" not in str(row["map"])]
    with open_figure(label, (7.0, 3.2)) as figure:
        panels = figure.subplots(1, 2, sharey=True, gridspec_kw={"wspace": 0.12})
        for axes, part in zip(panels, ("forward", "training"), strict=True):
            shown = [row for row in squares if row["pass"] == part]
            for number, terms in enumerate(DRAWN):
                # A logarithmic axis has no zero: leave out values too small to be measured.
                selected = [row for row in shown if row["terms"] == terms and row[unit]]
                ours = [(_positions(row), float(row[unit])) for row in selected]
                dense = [
                    (_positions(row), float(row[unit]) / row[ratio])
                    for row in selected
                    if isinstance(row[ratio], float)
                ]
                # One legend is for both panels.
                name = terms if axes is panels[0] else ""
                _draw(axes, ours, COLORS[number], "o-", label=name)
                _draw(axes, dense, COLORS[number], "s:", label="")
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(_ticks({_positions(row) for row in squares}))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.yaxis.set_minor_formatter(NullFormatter())
            for axis in (axes.xaxis, axes.yaxis):
                axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            axes.set_title(part, loc="left", fontsize=11)
            axes.set_xlabel("positions of the map")
        panels[0].set_ylabel(unit)
        panels[0].plot([], [], "s:", color="#8c959f", label="dense")
        figure.legend(loc="lower left", bbox_to_anchor=(0, 1.06), ncols=6)
        return to_svg(figure, label)


def _draw(axes: Axes, points: list[tuple[int, float]], color: str, style: str, label: str) -> None:
    if not points:
        return
    sizes, values = zip(*sorted(points), strict=True)
    axes.plot(sizes, values, style, color=color, markersize=4, label=label or None)


def _ticks(sizes: set[int]) -> list[int]:
    """The sizes, without those too close to a smaller one."""
    ticks: list[int] = []
    for size in sorted(sizes):
        if not ticks or size > _LEAST_TICK_RATIO * ticks[-1]:
            ticks.append(size)
    return ticks


def _positions(row: Row) -> int:
    height, width = map(int, str(row["map"]).split("x"))
    return height * width


PLOTS: dict[str, list[tuple[str, str, Callable[[Sequence[Row]], str]]]] = {
    "attention": [
        ("attention_time.svg", "Time against the size of the map, ours and dense", time_svg),
        ("attention_memory.svg", "Memory against the size of the map, ours and dense", memory_svg),
    ]
}
"""The plots of each benchmark: file name, caption, and the function that draws it."""
