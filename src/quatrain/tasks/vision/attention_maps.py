"""Pictures of the attention weights of one query: all terms together, and each term alone.

    picture = attention_picture(network, pixels, sample.image, at=(40, 25))
    if picture is not None:                     # None for a network without attention
        write_picture(folder / "attention-7.png", picture)

Only attention has weights to draw. Deformable convolution, which has sampling points, and dynamic
convolution, which has weights in a small window, are not drawn.

Shapes: an image is h high and w wide; a network takes rows x columns of pixels.
"""

import numpy as np
import torch
from jaxtyping import Float, Shaped, UInt8
from PIL import Image
from torch import Tensor, nn

from quatrain.figures.canvas import MEANINGS
from quatrain.nn import Explanation, GeneralizedAttention, capture
from quatrain.nn.modes import evaluation_mode
from quatrain.ops.positions import Grid
from quatrain.results.drawing import load_matplotlib
from quatrain.specs import InputError
from quatrain.tasks.vision.panels import Box, Panel, draw_panels, to_array

QUERY_COLOR = (0, 229, 255)
"""The colour of the box around the query."""

_OPACITY = 0.75
_LEAST_SHARE = 0.005


def attention_picture(
    network: nn.Module,
    pixels: Shaped[Tensor, "1 _ rows columns"],
    image: UInt8[Tensor, "3 h w"],
    *,
    at: tuple[int, int] | None = None,
    name: str | None = None,
    covered: tuple[int, int] | None = None,
) -> Image.Image | None:
    """Draw the attention weights of one query over an image, in total and for each term alone.

    The first panel marks the query's cell of the feature map by a box. The second shows the
    weights as the mean over heads. If several terms are on, one more panel for each shows the
    softmax, over the same keys, of that term's logits alone, again as the mean over heads. The
    colours of each panel range from 0 to the maximum in its caption. Cells are drawn as equal parts
    of the input; with a key stride, a key is drawn over all cells up to the next key. The caption
    gives the share of the weights that lies on padding, which is not drawn.

    Args:
        network: A network with attention, called as `network(pixels)` without gradients and in
            evaluation mode; its modes are restored.
        pixels: The network's input: normalized, resized, padded on the right and below, on the
            network's device.
        image: The same image to draw on, in its own size.
        at: Row and column of the query in pixels of `image`; by default its centre.
        name: The attention's name in `network.named_modules()`; by default the last one.
        covered: Rows and columns of `pixels` that are image and not padding; by default all.

    Returns:
        The picture, or None if the network has no two-dimensional attention.

    Raises:
        InputError: if `at` lies outside the image or `covered` outside `pixels`, no attention has
            that name, or the network did not call it.
    """
    attentions = {
        path: module
        for path, module in network.named_modules()
        if isinstance(module, GeneralizedAttention) and module.ndim == 2
    }
    if not attentions:
        return None
    name = next(reversed(attentions)) if name is None else name
    if name not in attentions:
        raise InputError(f"name={name!r} is no attention; use {', '.join(attentions)}", "name")
    height, width = image.shape[1:]
    row, column = (height // 2, width // 2) if at is None else at
    if not (0 <= row < height and 0 <= column < width):
        message = f"at={at} is not within the image's {height} rows and {width} columns"
        raise InputError(f"{message}, which are counted from 0", "at")
    shares = _image_shares((pixels.shape[2], pixels.shape[3]), covered)
    point = ((row + 0.5) / height * shares[0], (column + 0.5) / width * shares[1])
    explanation = _explain(network, pixels, name, attentions[name], point)
    panels = _panels(explanation, to_array(image), (row, column), shares)
    title = _title(network, name, attentions[name])
    return draw_panels(panels, title=title, columns=max(-(-len(panels) // 2), 2))


def _panels(
    explanation: Explanation,
    image: UInt8[np.ndarray, "h w 3"],
    at: tuple[int, int],
    shares: tuple[float, float],
) -> list[Panel]:
    """The panel of the query and those of the weights, each with the box of the query's cell."""
    box = _cell_box(explanation, (image.shape[0], image.shape[1]), shares)
    terms, weights = list(explanation.logits), explanation.weights
    if len(terms) == 1:
        maps = {MEANINGS[terms[0]]: weights}
    else:
        alone = {MEANINGS[term]: explanation.term_weights(term) for term in terms}
        maps = {"all terms": weights, **alone}
    panels = [Panel(f"query: row {at[0]}, column {at[1]}", image, [box])]
    for caption, values in maps.items():
        panels.append(Panel(*_heat_map(caption, values, explanation.grid, image, shares), [box]))
    return panels


def _image_shares(size: tuple[int, int], covered: tuple[int, int] | None) -> tuple[float, float]:
    """The fractions of the height and width of the input that are image and not padding."""
    covered = size if covered is None else covered
    if not (0 < covered[0] <= size[0] and 0 < covered[1] <= size[1]):
        message = f"covered={covered} is not within the {size} of the input; pass its unpadded size"
        raise InputError(message, "covered")
    return covered[0] / size[0], covered[1] / size[1]


def _explain(
    network: nn.Module,
    pixels: Tensor,
    name: str,
    attention: GeneralizedAttention,
    point: tuple[float, float],
) -> Explanation:
    """Call the network and explain the query at `point`, as fractions of height and width."""

    def cell_at_point(size: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(
            min(int(part * length), length - 1) for part, length in zip(point, size, strict=True)
        )

    with (
        capture(attention, query=cell_at_point) as explanations,
        evaluation_mode(network),
        torch.no_grad(),
    ):
        network(pixels)
    if not explanations[""]:
        raise InputError(f"the network did not call {name}; name another attention", name)
    return explanations[""][-1]


def _title(network: nn.Module, name: str, attention: GeneralizedAttention) -> str:
    """The attention's name, terms and heads, and the gamma of the block around it."""
    spec = attention.spec
    window = "" if spec.window is None else f"@{spec.window}"
    heads = "1 head" if spec.heads == 1 else f"mean of {spec.heads} heads"
    gamma = getattr(network.get_submodule(name.rpartition(".")[0]), "gamma", None)
    scale = f", gamma {float(gamma.detach()):.3g}" if isinstance(gamma, Tensor) else ""
    return f"{name or 'attention'}: {attention.terms}{window}, {heads}{scale}"


def _heat_map(
    caption: str,
    weights: Float[Tensor, "1 m 1 k"],
    grid: Grid,
    image: UInt8[np.ndarray, "h w 3"],
    shares: tuple[float, float],
) -> tuple[str, UInt8[np.ndarray, "h w 3"]]:
    """The caption with the maximum, and the mean over heads in colours over the grey image."""
    mean = weights[0, :, 0].double().mean(0).reshape(grid.keys).cpu().numpy()
    rows, columns = (
        ((np.arange(pixels) + 0.5) / pixels * share * length / grid.key_stride).astype(np.int64)
        for pixels, share, length in zip(image.shape[:2], shares, grid.queries, strict=True)
    )
    visible = mean[: rows[-1] + 1, : columns[-1] + 1]
    highest, on_padding = float(visible.max()), float(mean.sum() - visible.sum())
    # Matplotlib's "inferno" is brighter for greater values from 0 to 1.
    colormap = load_matplotlib().colormaps["inferno"]
    colors = 255 * colormap(mean[np.ix_(rows, columns)] / (highest or 1.0))[..., :3]
    grey = image @ np.array([0.299, 0.587, 0.114])
    overlay = (1 - _OPACITY) * grey[..., None] + _OPACITY * colors
    padding = f", {100 * on_padding:.0f} % on padding" if on_padding > _LEAST_SHARE else ""
    return f"{caption}: at most {highest:.3g}{padding}", overlay.round().astype(np.uint8)


def _cell_box(explanation: Explanation, size: tuple[int, int], shares: tuple[float, float]) -> Box:
    """The box around the explained query's cell, in pixels of an image of that (height, width)."""
    scale = [
        pixels / (share * length)
        for pixels, share, length in zip(size, shares, explanation.grid.queries, strict=True)
    ]
    (down, across), (top, left) = scale, explanation.query or (0, 0)
    return Box((left * across, top * down, (left + 1) * across, (top + 1) * down), QUERY_COLOR)
