"""Where the attention of a network looks from one pixel: all its terms, and each of them alone.

    picture = attention_picture(network, pixels, sample.image, at=(40, 25))
    if picture is not None:                     # None where the network has no attention
        write_picture(folder / "attention-7.png", picture)

Only attention is drawn. Deformable convolution has sampling points in place of weights over a map,
and dynamic convolution weights of a small window: neither is shown here.

Shapes: an image is h high and w wide; a network is given rows x columns of pixels.
"""

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import Image, ImageDraw
from torch import Tensor, nn

from quatrain.nn import Explanation, GeneralizedAttention
from quatrain.specs import InputError, Term
from quatrain.tasks.vision.panels import Panel, arrange, fit, to_image

QUERY = (0, 229, 255)
"""The colour of the frame around the query."""
MEANINGS = {
    Term.QUERY_KEY: "E1, query and key",
    Term.QUERY_POSITION: "E2, query and position",
    Term.KEY: "E3, key",
    Term.POSITION: "E4, position",
}

# From no weight to the most, each step brighter: black, violet, red, orange, pale yellow.
_RAMP = np.array([(0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164)])
_HEAT = 0.75
_TOLD_OUTSIDE = 0.005


@dataclass(frozen=True)
class _Seen:
    """One query of an attention: its own cell, and how many cells the map has."""

    explanation: Explanation
    cell: tuple[int, int]
    sizes: tuple[int, int]
    stride: int


@dataclass(frozen=True)
class _Frame:
    """How a panel lies on the map: the cells of its rows and columns, as fractional numbers."""

    panel: Image.Image
    rows: Float[np.ndarray, " panel_h"]
    columns: Float[np.ndarray, " panel_w"]


def attention_picture(
    network: nn.Module,
    pixels: Shaped[Tensor, "1 _ rows columns"],
    image: UInt8[Tensor, "3 h w"],
    *,
    at: tuple[int, int] | None = None,
    name: str | None = None,
    covered: tuple[int, int] | None = None,
) -> Image.Image | None:
    """The weights of one query over an image: those of the attention, and of each term alone.

    The first panel has the query's cell of the map in a frame. The second shows the weights, as
    the mean over heads. If several terms are on, one more panel for each shows the weights that
    the softmax, over the same keys, makes of that term's logits alone, again as the mean over
    heads: where the term by itself would look. Each panel's colours go from 0 to the maximum that
    its caption tells. Cells are drawn as equal parts of the input; a key that a stride keeps
    stands for the cells up to the next. Weight that falls on padding is told, not drawn.

    Args:
        network: What holds the attention, called as `network(pixels)`, without gradients and in
            evaluation; its modes are put back.
        pixels: The image as the network takes it: normalized, resized, padded on the right and
            below, on the network's device.
        image: The same image to draw on, in its own size.
        at: Row and column of the query in pixels of `image`; by default its centre.
        name: The name in `network.named_modules()` of the attention; by default the last one.
        covered: Rows and columns of `pixels` that are image and not padding; by default all.

    Returns:
        The picture, or None if the network has no attention over maps.

    Raises:
        InputError: if `at` lies outside the image or `covered` outside `pixels`, there is no
            attention of that name, or the network did not call it.
    """
    attentions = {
        each: module
        for each, module in network.named_modules()
        if isinstance(module, GeneralizedAttention) and module.ndim == 2
    }
    if not attentions:
        return None
    name = next(reversed(attentions)) if name is None else name
    if name not in attentions:
        raise InputError("name", name, f"one of {', '.join(attentions)}", "name an attention")
    height, width = image.shape[1:]
    row, column = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        raise InputError("at", at, f"row and column within {height} x {width}", "count from 0")
    whole = (pixels.shape[2], pixels.shape[3])
    covered = whole if covered is None else covered
    if not (0 < covered[0] <= whole[0] and 0 < covered[1] <= whole[1]):
        raise InputError("covered", covered, f"at most {whole}, as pixels", "leave padding out")
    shares = (covered[0] / whole[0], covered[1] / whole[1])
    point = ((row + 0.5) / height * shares[0], (column + 0.5) / width * shares[1])
    seen = _look(network, pixels, name, attentions[name], point)
    return _picture(seen, image, shares, _title(network, name, attentions[name]), (row, column))


def heat_colors(heat: Float[np.ndarray, "h w"]) -> UInt8[np.ndarray, "h w 3"]:
    """The colour of each value from 0 to 1; a greater value is brighter."""
    steps = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(heat, steps, _RAMP[:, channel]) for channel in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _look(
    network: nn.Module,
    pixels: Tensor,
    name: str,
    attention: GeneralizedAttention,
    point: tuple[float, float],
) -> _Seen:
    """Call the network, and explain the query at `point`, given as parts of height and width."""
    seen: list[_Seen] = []

    def explain(
        _: nn.Module, inputs: tuple[Any, ...], named: Mapping[str, Any], __: Tensor
    ) -> None:
        height, width = inputs[0].shape[2:]
        cell = (
            min(int(point[0] * height), height - 1),
            min(int(point[1] * width), width - 1),
        )
        shown = {key: value for key, value in named.items() if key != "method"}
        explanation = attention.explain(*inputs, **shown, at=cell)
        seen.append(_Seen(explanation, cell, (height, width), attention.spec.key_stride))

    hook = attention.register_forward_hook(explain, with_kwargs=True)
    try:
        with _in_evaluation(network), torch.no_grad():
            network(pixels)
    finally:
        hook.remove()
    if not seen:
        raise InputError(name, "not called", "a part of the network that is used", "name another")
    return seen[-1]


@contextmanager
def _in_evaluation(network: nn.Module) -> Iterator[None]:
    modes = [(module, module.training) for module in network.modules()]
    network.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


def _title(network: nn.Module, name: str, attention: GeneralizedAttention) -> str:
    """Which attention it is, and how much of it the block around it lets through."""
    spec = attention.spec
    window = "" if spec.window is None else f"@{spec.window}"
    heads = "1 head" if spec.heads == 1 else f"mean of {spec.heads} heads"
    gamma = getattr(network.get_submodule(name.rpartition(".")[0]), "gamma", None)
    scaled = f", gamma {float(gamma.detach()):.3g}" if isinstance(gamma, Tensor) else ""
    return f"{name or 'attention'}: {spec.terms}{window}, {heads}{scaled}"


def _picture(
    seen: _Seen,
    image: UInt8[Tensor, "3 h w"],
    shares: tuple[float, float],
    title: str,
    pixel: tuple[int, int],
) -> Image.Image:
    panel, _ = fit(to_image(image))
    rows, columns = (
        (np.arange(length) + 0.5) / length * share * cells
        for length, share, cells in zip(
            (panel.height, panel.width), shares, seen.sizes, strict=True
        )
    )
    frame = _Frame(panel, rows, columns)
    terms = list(seen.explanation.logits)
    alone = {} if len(terms) == 1 else {term: seen.explanation.term_weights(term) for term in terms}
    whole = MEANINGS[terms[0]] if len(terms) == 1 else "weights of all terms together"
    place = f"the query: row {pixel[0]}, column {pixel[1]}"
    panels = [
        Panel(place, _framed(panel.copy(), seen, frame)),
        _heat(whole, seen.explanation.weights, seen, frame),
        *(
            _heat(f"{MEANINGS[term]}, alone", weights, seen, frame)
            for term, weights in alone.items()
        ),
    ]
    return arrange(panels, title=title, columns=max(-(-len(panels) // 2), 2))


def _heat(caption: str, weights: Float[Tensor, "1 m 1 k"], seen: _Seen, frame: _Frame) -> Panel:
    """One mean over heads, laid over the image."""
    keys = tuple(math.ceil(cells / seen.stride) for cells in seen.sizes)
    map_ = weights[0, :, 0].double().mean(0).reshape(keys).cpu().numpy()
    rows, columns = (
        (fractional / seen.stride).astype(np.int64) for fractional in (frame.rows, frame.columns)
    )
    visible = map_[: rows[-1] + 1, : columns[-1] + 1]
    most, outside = float(visible.max()), 1 - float(visible.sum())
    heat = map_[np.ix_(rows, columns)] / (most or 1.0)
    grey = np.asarray(frame.panel.convert("L"), dtype=np.float64)[..., None]
    mixed = (1 - _HEAT) * grey + _HEAT * heat_colors(heat)
    told = f", {100 * outside:.0f} % outside the image" if outside > _TOLD_OUTSIDE else ""
    overlay = Image.fromarray(mixed.round().astype(np.uint8))
    return Panel(f"{caption}: at most {most:.3g}{told}", _framed(overlay, seen, frame))


def _framed(panel: Image.Image, seen: _Seen, frame: _Frame) -> Image.Image:
    """Mark the query's cell by a line around it, which hides nothing within."""
    (top, bottom), (left, right) = (
        (np.searchsorted(fractional, cell), np.searchsorted(fractional, cell + 1) - 1)
        for fractional, cell in zip((frame.rows, frame.columns), seen.cell, strict=True)
    )
    around = (left - 2, top - 2, max(left, right) + 2, max(top, bottom) + 2)
    ImageDraw.Draw(panel).rectangle(tuple(map(int, around)), outline=QUERY, width=2)
    return panel
