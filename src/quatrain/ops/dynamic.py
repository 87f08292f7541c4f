"""Dynamic convolution: a window of weights per position, predicted from its content.

    y[i] = sum over j of weights[i, j] * x[i + j]          per group of channels

A block of r positions reads r + n - 1 values, so with its weights laid out as a band matrix the
block is one matrix product:

    weights of 3 positions,     as a band:
    window of 3
     a  b  c                    a  b  c  .  .
     d  e  f             ->     .  d  e  f  .
     g  h  i                    .  .  g  h  i

No window of x is ever copied: memory grows with the weights and with x, not with the window
times the channels. On a map, each row of the window is such a convolution along the map's rows.

Three operations are each the derivative of the other two, so all can be differentiated any number
of times: the sum y, its transpose from y to x, and the products of y and x that give weights.

Shapes: b batch, t positions, h rows and w columns of a map, c channels, g groups, e channels of a
group, n width of the window, m batch, groups and rows together.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import pad

from quatrain.ops.derivatives import ANY_ORDER, USE_REVERSE_MODE, SavingInputs, check_transforms
from quatrain.ops.positions import block_index, is_symbolic

_MIN_BLOCK = 16
"""Positions of the shortest block."""


def dynamic_conv1d(
    x: Float[Tensor, "b t c"], weights: Float[Tensor, "b t g n"], *, causal: bool = False
) -> Float[Tensor, "b t c"]:
    """Convolve a sequence with weights per position; x is zero outside.

    The window is centred on its position, or ends there if `causal`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """
    groups, window = weights.shape[2:]
    before = window - 1 if causal else (window - 1) // 2
    values = rearrange(x, "b t (g e) -> b g 1 t e", g=groups)
    values = pad(values, (0, 0, before, window - 1 - before))
    y = _windowed_sum(values, weights[:, None, :, :, None])
    return rearrange(y, "b g 1 t e -> b t (g e)")


def dynamic_conv2d(
    x: Float[Tensor, "b c h w"], weights: Float[Tensor, "b h w g n n"]
) -> Float[Tensor, "b c h w"]:
    """Convolve a map with weights per position; x is zero outside.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 5 to 7.
    """
    groups, window = weights.shape[3:5]
    reach = window // 2
    values = rearrange(x, "b (g e) h w -> b g h w e", g=groups)
    values = pad(values, (0, 0, reach, reach, reach, reach))
    return rearrange(_windowed_sum(values, weights), "b g h w e -> b (g e) h w")


def _windowed_sum(
    x: Float[Tensor, "b g s u e"], weights: Float[Tensor, "b h w g ky kx"]
) -> Float[Tensor, "b g h w e"]:
    """The sum over the window; x is padded to height h + ky - 1 and width w + kx - 1."""
    check_transforms((x, weights), USE_REVERSE_MODE, order=ANY_ORDER)
    if is_symbolic(*weights.shape):
        return _symbolic_windowed_sum(x, weights)
    return _WindowedSum.apply(x, weights)


def _symbolic_windowed_sum(
    x: Float[Tensor, "b g s u e"], weights: Float[Tensor, "b h w g ky kx"]
) -> Float[Tensor, "b g h w e"]:
    """`_windowed_sum` for sizes that are symbols: all blocks of a row of the window at once.

    There are at least two blocks, since a graph of one would fit no other width.
    """
    height, width, _, rows, window = weights.shape[1:]
    length = max(_MIN_BLOCK, window)
    count = width // length + 2
    missing = count * length - width
    x = pad(x, (0, 0, 0, missing))
    weights = pad(weights, (0, 0, 0, 0, 0, 0, 0, missing))
    own = block_index(count, length, length, x.device)
    reads = block_index(count, length, length + window - 1, x.device)
    products: list[Tensor] = []
    for row in range(rows):
        values = x[:, :, row : row + height, reads]
        kernels = rearrange(weights[:, :, own, :, row], "b h k r g n -> b g h k r n")
        products.append(_shift_rows(kernels) @ values)
    positions = torch.arange(width, device=x.device)
    return sum(products[1:], products[0]).flatten(3, 4)[:, :, :, positions]


def band_blocks(width: int, window: int) -> Iterator[slice]:
    """The positions along an axis that share a band matrix.

    Blocks are long enough for matrix products to be fast, and short enough that the band is not
    mostly zeros.
    """
    rows = max(_MIN_BLOCK, min(64, 2 * window))
    for start in range(0, width, rows):
        yield slice(start, min(start + rows, width))


class _WindowedSum(SavingInputs):
    """From padded x to y."""

    @staticmethod
    def forward(x, weights):  # noqa: ANN001, ANN205 - autograd's signature
        batch, height, width, groups = weights.shape[:4]
        y = x.new_zeros(batch, groups, height, width, x.shape[-1])
        for row, part in _window_rows_and_blocks(weights):
            products = torch.bmm(_band(weights[:, :, part, :, row]), _values(x, weights, row, part))
            y[:, :, :, part] += products.view(batch, groups, height, *products.shape[1:])
        return y

    @staticmethod
    def backward(ctx, grad_y):  # noqa: ANN001, ANN205
        x, weights = ctx.saved_tensors
        grad_x = _Transposed.apply(grad_y, weights) if ctx.needs_input_grad[0] else None
        grad_weights = _Products.apply(grad_y, x, weights) if ctx.needs_input_grad[1] else None
        return grad_x, grad_weights


class _Transposed(SavingInputs):
    """From y to padded x: each position's content, times its weights, added to its window."""

    @staticmethod
    def forward(y, weights):  # noqa: ANN001, ANN205
        batch, height, width, groups, rows, columns = weights.shape
        x = y.new_zeros(batch, groups, height + rows - 1, width + columns - 1, y.shape[-1])
        for row, part in _window_rows_and_blocks(weights):
            band = _band(weights[:, :, part, :, row])
            products = torch.bmm(band.transpose(1, 2), y[:, :, :, part].flatten(0, 2))
            columns_read = slice(part.start, part.start + products.shape[1])
            x[:, :, row : row + height, columns_read] += products.view(
                batch, groups, height, *products.shape[1:]
            )
        return x

    @staticmethod
    def backward(ctx, grad_x):  # noqa: ANN001, ANN205
        y, weights = ctx.saved_tensors
        grad_y = _WindowedSum.apply(grad_x, weights) if ctx.needs_input_grad[0] else None
        grad_weights = _Products.apply(y, grad_x, weights) if ctx.needs_input_grad[1] else None
        return grad_y, grad_weights


class _Products(torch.autograd.Function):
    """The dot product of each position of y with each of its window in x, shaped as `like`."""

    @staticmethod
    def forward(y, x, like):  # noqa: ANN001, ANN205
        batch, height, _, groups = like.shape[:4]
        weights = torch.empty_like(like)
        for row, part in _window_rows_and_blocks(like):
            values = _values(x, like, row, part)
            band = torch.bmm(y[:, :, :, part].flatten(0, 2), values.transpose(1, 2))
            products = _unband(band, like.shape[-1]).unflatten(0, (batch, groups, height))
            weights[:, :, part, :, row] = rearrange(products, "b g h r n -> b h r g n")
        return weights

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        y, x, _ = inputs
        ctx.save_for_backward(y, x)

    @staticmethod
    def backward(ctx, grad_weights):  # noqa: ANN001, ANN205
        y, x = ctx.saved_tensors
        grad_y = _WindowedSum.apply(x, grad_weights) if ctx.needs_input_grad[0] else None
        grad_x = _Transposed.apply(y, grad_weights) if ctx.needs_input_grad[1] else None
        return grad_y, grad_x, None


def _window_rows_and_blocks(weights: Tensor) -> Iterator[tuple[int, slice]]:
    """Each row of the window with each block of columns of the map."""
    for row in range(weights.shape[4]):
        for part in band_blocks(weights.shape[2], weights.shape[5]):
            yield row, part


def _values(x: Tensor, weights: Tensor, row: int, part: slice) -> Tensor:
    """The values that a block reads in this row of the window, (b g h, r + n - 1, e)."""
    columns = slice(part.start, part.stop + weights.shape[5] - 1)
    return x[:, :, row : row + weights.shape[1], columns].flatten(0, 2)


def _band(weights: Float[Tensor, "b h r g n"]) -> Float[Tensor, "m r s"]:
    return _shift_rows(rearrange(weights, "b h r g n -> (b g h) r n"))


def _shift_rows(weights: Float[Tensor, "*lead r n"]) -> Float[Tensor, "*lead r s"]:
    """Shift row i right by i: one step less from row to row in the flattened, padded rows."""
    rows, window = weights.shape[-2:]
    flat = pad(weights, (0, rows)).flatten(-2)[..., : rows * (rows + window - 1)]
    return flat.unflatten(-1, (rows, rows + window - 1))


def _unband(band: Float[Tensor, "m r s"], window: int) -> Float[Tensor, "m r n"]:
    """Shift row i left by i, and cut it to the window."""
    rows = band.shape[1]
    return pad(band.flatten(1), (0, rows)).unflatten(1, (rows, rows + window))[:, :, :window]
