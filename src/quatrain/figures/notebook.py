"""A matplotlib figure that notebooks show by itself, also without pyplot."""

import io
import warnings

from matplotlib.figure import Figure


class NotebookFigure(Figure):
    """A figure whose value in a notebook is its picture."""

    def _repr_png_(self) -> bytes:
        encoded = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the font lacks some scripts
            self.savefig(encoded, format="png", bbox_inches="tight")
        return encoded.getvalue()
