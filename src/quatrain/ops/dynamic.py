"""Dynamic convolution: a window of weights for every position, predicted from its content.

    y[i] = sum over j of weights[i, j] * x[i + j]          for each group of channels

A block of r positions reads r + n - 1 values, so its weights, laid out as a band matrix, make the
block one matrix product:

    weights of 3 positions,     as a band:
    window of 3
     a  b  c                    a  b  c  .  .
     d  e  f             ->     .  d  e  f  .
     g  h  i                    .  .  g  h  i

No window of x is ever copied out: memory grows with the weights and with x, not with the window
times the channels. On a map, each row of the window is such a convolution along the map's rows.

The sum, what it gives to x and what it gives to the weights are each the derivative of the other
two, so that all of them can be differentiated any number of times.

Shapes: b batch, t positions, h rows and w columns of a map, c channels, g groups, e channels of a
group, n width of the window, m everything that shares no weight.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from quatrain.ops.derivatives import REVERSE, refuse_tangents, refuse_vmap


def dynamic_conv1d(
    x: Float[Tensor, "b t c"], weights: Float[Tensor, "b t g n"], *, causal: bool = False
) -> Float[Tensor, "b t c"]:
    """Convolve a sequence with the weights of each position; outside of it x is zero.

    The window is centred on its position, or ends there if `causal`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """
    groups, window = weights.shape[2:]
    before = window - 1 if causal else (window - 1) // 2
    values = rearrange(x, "b t (g e) -> b g 1 t e", g=groups)
    values = pad(values, (0, 0, before, window - 1 - before))
    mixed = _windowed(values, weights[:, None, :, :, None])
    return rearrange(mixed, "b g 1 t e -> b t (g e)")


def dynamic_conv2d(
    x: Float[Tensor, "b c h w"], weights: Float[Tensor, "b h w g n n"]
) -> Float[Tensor, "b c h w"]:
    """Convolve a map with the weights of each position; outside of it x is zero.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """
    groups, window = weights.shape[3:5]
    reach = window // 2
    values = rearrange(x, "b (g e) h w -> b g h w e", g=groups)
    values = pad(values, (0, 0, reach, reach, reach, reach))
    return rearrange(_windowed(values, weights), "b g h w e -> b (g e) h w")


def _windowed(
    x: Float[Tensor, "b g s u e"], weights: Float[Tensor, "b h w g ky kx"]
) -> Float[Tensor, "b g h w e"]:
    """The sum over the window of x padded by it, of height h + ky - 1 and width w + kx - 1."""
    refuse_tangents((x, weights), REVERSE)
    refuse_vmap((x, weights))
    return _Mix.apply(x, weights)


def blocks(width: int, window: int) -> Iterator[slice]:
    """The positions along an axis that share a band matrix.

    Large enough to be worth a matrix product, small enough that the band is not mostly zeros.
    """
    rows = max(16, min(64, 2 * window))
    for start in range(0, width, rows):
        yield slice(start, min(start + rows, width))


class _Mix(torch.autograd.Function):
    @staticmethod
    def forward(x, weights):  # noqa: ANN001, ANN205 - autograd's signature
        batch, height, width, groups = weights.shape[:4]
        y = x.new_zeros(batch, groups, height, width, x.shape[-1])
        for row, part in _parts(weights):
            mixed = torch.bmm(_band(weights[:, :, part, :, row]), _values(x, weights, row, part))
            y[:, :, :, part] += mixed.view(batch, groups, height, *mixed.shape[1:])
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        x, weights = ctx.saved_tensors
        to_x = _Spread.apply(gradient, weights) if ctx.needs_input_grad[0] else None
        to_weights = _Match.apply(gradient, x, weights) if ctx.needs_input_grad[1] else None
        return to_x, to_weights


class _Spread(torch.autograd.Function):
    """What y gives to the padded x: each position's content, times its weights, over its window."""

    @staticmethod
    def forward(y, weights):  # noqa: ANN001, ANN205
        batch, height, width, groups, rows, columns = weights.shape
        x = y.new_zeros(batch, groups, height + rows - 1, width + columns - 1, y.shape[-1])
        for row, part in _parts(weights):
            band = _band(weights[:, :, part, :, row])
            spread = torch.bmm(band.transpose(1, 2), y[:, :, :, part].flatten(0, 2))
            read = slice(part.start, part.start + spread.shape[1])
            x[:, :, row : row + height, read] += spread.view(
                batch, groups, height, *spread.shape[1:]
            )
        return x

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        y, weights = ctx.saved_tensors
        to_y = _Mix.apply(gradient, weights) if ctx.needs_input_grad[0] else None
        to_weights = _Match.apply(y, gradient, weights) if ctx.needs_input_grad[1] else None
        return to_y, to_weights


class _Match(torch.autograd.Function):
    """The dot product of each position of y with each of its window in x, shaped as `like`."""

    @staticmethod
    def forward(y, x, like):  # noqa: ANN001, ANN205
        batch, height, _, groups = like.shape[:4]
        weights = torch.empty_like(like)
        for row, part in _parts(like):
            values = _values(x, like, row, part)
            products = torch.bmm(y[:, :, :, part].flatten(0, 2), values.transpose(1, 2))
            matched = _unband(products, like.shape[-1]).unflatten(0, (batch, groups, height))
            weights[:, :, part, :, row] = rearrange(matched, "b g h r n -> b h r g n")
        return weights

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        y, x, _ = inputs
        ctx.save_for_backward(y, x)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        y, x = ctx.saved_tensors
        to_y = _Mix.apply(x, gradient) if ctx.needs_input_grad[0] else None
        to_x = _Spread.apply(y, gradient) if ctx.needs_input_grad[1] else None
        return to_y, to_x, None


def _parts(weights: Tensor) -> Iterator[tuple[int, slice]]:
    """Each row of the window, with each block of columns of the map."""
    for row in range(weights.shape[4]):
        for part in blocks(weights.shape[2], weights.shape[5]):
            yield row, part


def _values(x: Tensor, weights: Tensor, row: int, part: slice) -> Tensor:
    """What the block reads in this row of the window, (b g h, r + n - 1, e)."""
    columns = slice(part.start, part.stop + weights.shape[5] - 1)
    return x[:, :, row : row + weights.shape[1], columns].flatten(0, 2)


def _band(weights: Float[Tensor, "b h r g n"]) -> Float[Tensor, "m r s"]:
    """Row i moved i places to the right: in the flattened rows, one step less from row to row."""
    rows, window = weights.shape[2], weights.shape[4]
    wide = pad(rearrange(weights, "b h r g n -> (b g h) r n"), (0, rows))
    flat = wide.flatten(1)[:, : rows * (rows + window - 1)]
    return flat.unflatten(1, (rows, rows + window - 1))


def _unband(band: Float[Tensor, "m r s"], window: int) -> Float[Tensor, "m r n"]:
    """Row i moved i places to the left, and cut to the window."""
    rows = band.shape[1]
    return pad(band.flatten(1), (0, rows)).unflatten(1, (rows, rows + window))[:, :, :window]
