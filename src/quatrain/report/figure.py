"""Figures in one style, whatever the user's own settings of matplotlib are.

    with open_figure("forest", (8.0, 3.0)) as figure:
        figure.subplots().plot([0, 1], [2, 3])
        svg = to_svg(figure, "forest")

The text is the same for the same input, byte for byte: no date, no random id, and nothing from a
matplotlibrc, a style sheet or MPLBACKEND. Text stays text (a reader can search it). Line and text
colours are two constants, so that the HTML page can turn them for dark screens.
"""

import importlib
import io
import os
import sys
import tempfile
import warnings
from collections.abc import Generator
from contextlib import chdir, contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from quatrain.report.escape import visible

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


def _import_matplotlib() -> ModuleType:
    """Matplotlib, without the user's settings where it cannot be imported with them."""
    try:
        return importlib.import_module("matplotlib")
    except Exception:  # of any kind: a validator's, a decoder's, a locale's
        names = ("MPLBACKEND", "MATPLOTLIBRC")
        before = {name: os.environ.pop(name) for name in names if name in os.environ}
    for name, module in list(sys.modules.items()):
        # Compiled modules cannot be loaded twice; the others look for attributes of their package.
        if name.startswith("matplotlib.") and (module.__file__ or "").endswith(".py"):
            del sys.modules[name]
    try:
        os.environ["MATPLOTLIBRC"] = os.devnull
        with tempfile.TemporaryDirectory() as empty, chdir(empty):
            return importlib.import_module("matplotlib")
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(before)


_matplotlib: Any = _import_matplotlib()


@contextmanager
def open_figure(salt: str, size: tuple[float, float]) -> "Generator[Figure]":
    """An empty figure of this size in inches, in our style; `salt` names what is drawn in it."""
    from matplotlib.figure import Figure

    defaults = {name: v for name, v in _matplotlib.rcParamsDefault.items() if name != "backend"}
    settings = {**defaults, **_STYLE, "svg.hashsalt": salt}
    with _matplotlib.rc_context(settings), warnings.catch_warnings():
        # Letters that the measuring font lacks are text of the SVG all the same.
        warnings.filterwarnings("ignore", r"Glyph .* missing from", UserWarning)
        yield Figure(figsize=size, layout="constrained")


def to_svg(figure: "Figure", label: str) -> str:
    """The figure as SVG text titled `label`; control characters in it are made visible."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    text = io.StringIO()
    nothing = dict.fromkeys(("Creator", "Date", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(text, metadata={**nothing, "Title": label})
    svg = text.getvalue()
    return visible(svg[svg.index("<svg") :])
