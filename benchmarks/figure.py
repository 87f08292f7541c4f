"""Figures in one style, independent of the user's settings of matplotlib.

    with open_figure("forest", (8.0, 3.0)) as figure:
        figure.subplots().plot([0, 1], [2, 3])
        svg = to_svg(figure, "forest")

The SVG is deterministic: no date, no random id, and nothing from a matplotlibrc, a style sheet or
MPLBACKEND. Text stays text, so that it can be searched. The colours of lines and text are
constants, which the HTML page replaces for dark mode.
"""

import io
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from quatrain.report.text import visible
from quatrain.results.drawing import default_settings, load_matplotlib
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from rich.cells import cell_len

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK = "#24292f"
FAINT = "#8c959f"
PAPER = "#fefefe"
COLORS = ("#2f7ed8", "#e0762f", "#2a9d76", "#b45ac2", "#c9a227", "#d64550", "#4fb3bf", "#7d8590")

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "figure.dpi": 72,
    "figure.facecolor": PAPER,
    "figure.subplot.left": 0.0,
    "figure.subplot.right": 1.0,
    "figure.subplot.bottom": 0.0,
    "figure.subplot.top": 1.0,
    "axes.facecolor": "none",
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.alpha": 0.25,
    "xtick.color": INK,
    "ytick.color": INK,
    "text.color": INK,
    "font.size": 11,
    "legend.frameon": False,
    "text.parse_math": False,
}


_matplotlib: Any = load_matplotlib()


@contextmanager
def open_figure(salt: str, size: tuple[float, float]) -> "Generator[Figure]":
    """An empty figure in our style, filled by its axes: `size` in inches is that of all axes.

    Another `salt` makes other ids in the SVG.
    """
    from matplotlib.figure import Figure

    settings = {**default_settings(), **_STYLE, "svg.hashsalt": salt}
    with _matplotlib.rc_context(settings), warnings.catch_warnings():
        # Letters that the measuring font lacks are text in the SVG all the same.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield Figure(figsize=size)


def to_svg(figure: "Figure", label: str) -> str:
    """The figure as SVG text titled `label`, as large as its content.

    Axes keep their size: the page grows with names and legends outside them.
    """
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.text import Text

    texts = [text.get_text() for text in figure.findobj(Text)]
    # Matplotlib measures letters of double width, as in Chinese, by a font that has none of them.
    wide = max((cell_len(text) - len(text) for text in texts), default=0)
    metadata = {**dict.fromkeys(("Creator", "Date", "Format", "Type")), "Title": label}
    canvas = FigureCanvasSVG(figure)
    box = figure.get_tightbbox().padded(0.1 + 0.08 * max(0, wide))
    svg = io.StringIO()
    canvas.print_figure(svg, format="svg", bbox_inches=box, metadata=metadata)
    text = svg.getvalue()
    return visible(text[text.index("<svg") :])
