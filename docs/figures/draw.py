"""Draw the figures of mathematics.md: `python docs/figures/draw.py [FOLDER]`.

All weights and logits are computed by quatrain, from inputs that are chosen so that each term can
be recognized.
"""

import argparse
import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from quatrain.ops.attention.reference import attention_weights
from quatrain.ops.deform import Taps
from quatrain.ops.positions import Grid, sinusoid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, Operands, logits
from quatrain.specs import Term

INK, QUERY, TAP = "#1d2329", "#d1495b", "#2f86c1"
DARK = f'[style*="{INK}"]'
STYLE = f"""<style>
@media (prefers-color-scheme: dark) {{
{DARK} {{ fill: #e4e8ec !important; }}
[style*="stroke: {INK}"] {{ fill: none !important; stroke: #a0aab4 !important; }}
}}
</style>"""

HEIGHT, WIDTH = 17, 25
QUERIES = ((5, 6), (12, 18))
SHIFTS = ((0, 7), (-6, 0), (0, 0))
"""Where a query of each kind of content looks, in rows and columns; see `example_inputs`."""


def scene() -> Tensor:
    """A map of three kinds of content: background 0, two squares of 1, a disc of 2."""
    kind = torch.zeros(HEIGHT, WIDTH, dtype=torch.long)
    kind[3:8, 4:9] = 1
    kind[2:6, 17:21] = 1
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    kind[(y - 12) ** 2 + (x - 18) ** 2 <= 12] = 2
    kind[(y - 13) ** 2 + (x - 4) ** 2 <= 5] = 2
    return kind


def example_inputs(terms: str, frequencies: int = 24) -> AttentionInputs:
    """One head whose E1 compares kinds of content, and E3 prefers kind 2.

    E2 looks to the right of kind 1, above kind 2 and nowhere else; E4 looks nearby.
    """
    kind = scene().flatten()
    content = torch.nn.functional.one_hot(kind, 3).float()
    grid = Grid((HEIGHT, WIDTH), (HEIGHT, WIDTH))

    def encode(shift: Tensor) -> Tensor:
        return sinusoid(shift, 2 * frequencies, 100.0, torch.float32) / frequencies

    def padded(x: Tensor, before: int) -> Tensor:
        return torch.nn.functional.pad(x, (before, 3 + 4 * frequencies - before - x.shape[-1]))

    axes = [torch.tensor([shift[axis] for shift in (SHIFTS[2], *SHIFTS[:2])]) for axis in (0, 1)]
    looks = torch.cat([encode(axis) for axis in axes], -1) * torch.tensor([0.0, 1, 1])[:, None]
    query = torch.cat((content, 40 * looks[kind]), -1)
    nearby = torch.cat([encode(torch.zeros(1, dtype=torch.long))] * 2, -1)
    relative = tuple(
        padded(encode(grid.relative_tensor(axis, torch.device("cpu"))), 3 + 2 * frequencies * axis)
        for axis in (0, 1)
    )
    return AttentionInputs(
        Term.parse(terms),
        Operands(
            value=content[None, None],
            query=query[None, None],
            key=padded(content, 0)[None, None],
            content_vector=padded(torch.tensor([[0.0, 0.0, 1.0]]), 0),
            position_vector=padded(40 * nearby, 3),
            relative=tuple(axis[None] for axis in relative),
        ),
        grid,
        Support(),
    )


def show(ax: Axes, image: Tensor, title: str, colors: str = "viridis") -> None:
    """An image without ticks, with a title."""
    ax.imshow(image.numpy(), cmap=colors, interpolation="nearest")
    ax.set_title(title)
    ax.set_xticks([])
    ax.set_yticks([])


def draw_terms() -> Figure:
    """Logits of each term, and the weights of all, for two queries of one map."""
    figure, rows = plt.subplots(2, 6, figsize=(11, 2.9), layout="constrained")
    for row, query in zip(rows, QUERIES, strict=True):
        number = query[0] * WIDTH + query[1]
        show(row[0], scene(), "content", "Pastel1")
        titles = {"1000": "E1", "0100": "E2", "0010": "E3", "0001": "E4"}
        for ax, (terms, title) in zip(row[1:], titles.items(), strict=False):
            inputs = example_inputs(terms)
            scores = logits(inputs.terms, inputs.operands, inputs.grid)[0, 0]
            show(ax, scores.expand(HEIGHT * WIDTH, -1)[number].view(HEIGHT, WIDTH), title)
        weights = attention_weights(example_inputs("1111"))[0, 0, number]
        show(row[5], weights.view(HEIGHT, WIDTH), "softmax of 1111")
        for ax in row:
            ax.set_title(ax.get_title() if query == QUERIES[0] else "")
            ax.plot(query[1], query[0], "o", color=QUERY, markersize=5, markeredgecolor="white")
    return figure


def draw_methods() -> Figure:
    """The weights of all pairs of a small map, for one term set of each method."""
    torch.manual_seed(0)
    grid, width = Grid((5, 7), (5, 7)), 16
    count = 35
    operands = Operands(
        value=torch.randn(1, 1, count, width),
        query=torch.randn(1, 1, count, width) / 3,
        key=torch.randn(1, 1, count, width) / 3,
        content_vector=torch.randn(1, width) / 3,
        position_vector=torch.randn(1, width) / 3,
        relative=(torch.randn(1, 9, width) / 3, torch.randn(1, 13, width) / 3),
    )
    figure, row = plt.subplots(1, 4, figsize=(11, 3.1), layout="constrained")
    methods = {"0010": "pooled", "0011": "separable", "0110": "factored", "1111": "fused"}
    for ax, (terms, method) in zip(row, methods.items(), strict=True):
        inputs = AttentionInputs(Term.parse(terms), operands, grid, Support())
        show(ax, attention_weights(inputs)[0, 0].expand(count, -1), f"{terms}: {method}")
        ax.set_xlabel("keys")
        ax.set_ylabel("queries")
    block = Rectangle((-0.5, 13.5), count, 7, fill=False, edgecolor=QUERY, linewidth=2)
    row[3].add_patch(block)
    return figure


def draw_sampling() -> Figure:
    """Which positions each convolution reads for two outputs, and with which weights."""
    torch.manual_seed(3)
    figure, row = plt.subplots(1, 5, figsize=(11, 2.5), layout="constrained")
    taps = Taps((9, 13), (3, 3), 1, 1, 1).positions(torch.zeros(1)).view(9, 13, 9, 2)
    kernels = torch.randn(3, 9).mul(1.2).softmax(-1)
    titles = ("regular", "deformable", "modulated", "lightweight", "dynamic")
    for ax, title in zip(row, titles, strict=True):
        y, x = torch.meshgrid(torch.arange(9), torch.arange(13), indexing="ij")
        ax.plot(x.flatten(), y.flatten(), ".", color=INK, markersize=2)
        for number, (qy, qx) in enumerate(((4, 3), (4, 9))):
            at, sizes = taps[qy, qx].clone(), torch.full((9,), 0.5)
            if title in ("deformable", "modulated"):
                start, at = at, at + torch.randn(9, 2) * 0.7
                for (y0, x0), (y1, x1) in zip(start.tolist(), at.tolist(), strict=True):
                    ax.plot([x0, x1], [y0, y1], color=TAP, linewidth=0.8)
            if title == "modulated":
                sizes = torch.randn(9).mul(2).sigmoid()
            if title in ("lightweight", "dynamic"):
                sizes = 2.5 * kernels[2 if title == "lightweight" else number]
            ax.scatter(at[:, 1], at[:, 0], s=60 * sizes, color=TAP, zorder=3)
            ax.plot(qx, qy, "s", markersize=12, markerfacecolor="none", markeredgecolor=QUERY)
        ax.set_title(title)
        ax.set_aspect("equal")
        ax.invert_yaxis()
        ax.axis("off")
    return figure


def save(figure: Figure, path: Path) -> None:
    """Write an SVG without a date, whose text follows the color scheme."""
    figure.savefig(path, transparent=True, metadata={"Date": None})
    plt.close(figure)
    text = path.read_text()
    path.write_text(re.sub(r"(<svg[^>]*>)", lambda found: found[1] + STYLE, text, count=1))


def draw(folder: Path) -> None:
    """Write all figures to `folder`."""
    settings: dict[Any, Any] = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor"), INK
    )
    settings |= {"svg.fonttype": "none", "svg.hashsalt": "quatrain"}
    settings |= {"font.size": 10, "axes.titlesize": 10}
    with mpl.rc_context(settings):
        save(draw_terms(), folder / "terms.svg")
        save(draw_sampling(), folder / "sampling.svg")
        save(draw_methods(), folder / "methods.svg")


if __name__ == "__main__":
    mpl.use("agg")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parent)
    draw(parser.parse_args().folder)
