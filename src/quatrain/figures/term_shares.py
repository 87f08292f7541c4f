"""A figure of the share of each term in the logits and attention of every layer.

shares = quatrain.term_shares(model, tokens)
plot_term_shares(shares).savefig("shares.png")
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from quatrain.figures.canvas import MEANINGS, PALETTE, PLAIN, new_figure
from quatrain.specs import InputError, Term
from quatrain.switching import TermShares

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MARKERS = {
    Term.QUERY_KEY: "o",
    Term.QUERY_POSITION: "s",
    Term.KEY: "^",
    Term.POSITION: "D",
}
_SPREAD = 0.18
_ROW = 0.55


def plot_term_shares(shares: Mapping[str, TermShares]) -> "Figure":
    """The share of each term in logit variance and attention mass, by layer.

    A large mark is the mean over heads, the small ones are the heads. Shares of variance add up to
    1 in each layer, and a negative one counteracts the other terms; those of constant logits do not
    exist and are left out. Shares of mass are the part of the attention, from 0 to 1, that moves
    when the term is switched off.

    Args:
        shares: of each layer, from `quatrain.term_shares`; layers are drawn from top to bottom.

    Source: our own; the formulas are in `quatrain.switching.shares`.

    Raises:
        InputError: if there is no layer.
        MissingPackageError: if matplotlib is not installed.
    """
    if not shares:
        raise InputError("shares is empty; pass the result of quatrain.term_shares", "shares")
    figure = new_figure(8.5, 1.5 + _ROW * len(shares))
    left, right = figure.subplots(1, 2, sharey=True)
    _draw(left, {name: each.variance for name, each in shares.items()})
    _draw(right, {name: each.mass for name, each in shares.items()})
    left.set(xlabel="share of logit variance", ylim=(len(shares) - 0.5, -0.5))
    left.set_yticks(range(len(shares)), [name or "attention" for name in shares], **PLAIN)
    left.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    right.set(xlabel="share of attention moved without it", xlim=(-0.03, 1.03))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", color="0.9", zorder=0)
        axes.set_axisbelow(True)
    lines = {
        str(line.get_label()): line
        for line in left.get_lines()
        if line.get_label() in MEANINGS.values()
    }
    figure.legend(lines.values(), lines, loc="outside upper center", ncols=4, frameon=False)
    return figure


def _draw(axes: "Axes", shares: Mapping[str, Mapping[Term, Tensor]]) -> None:
    """One mark for each layer and term, and small ones for the heads."""
    for number, (term, meaning) in enumerate(MEANINGS.items()):
        rows = [row for row, of_layer in enumerate(shares.values()) if term in of_layer]
        if not rows:
            continue
        by_head = [of_layer[term].numpy() for of_layer in shares.values() if term in of_layer]
        at = np.array(rows) + (number - 1.5) * _SPREAD
        style: dict[str, Any] = {
            "color": PALETTE[number],
            "linestyle": "none",
            "marker": _MARKERS[term],
        }
        heads = np.repeat(at, [len(values) for values in by_head])
        axes.plot(np.concatenate(by_head), heads, markersize=3, alpha=0.45, **style)
        means = [float(values.mean()) for values in by_head]
        axes.plot(means, at, markersize=7, label=meaning, **style)
