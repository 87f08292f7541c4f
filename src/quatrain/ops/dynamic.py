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

Shapes: b batch, t positions, h rows and w columns of a map, c channels, g groups, e channels of a
group, n width of the window, m everything that shares no weight.
"""

from collections.abc import Iterator

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad


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
    return rearrange(
        _Windowed.apply(values, weights[:, None, :, :, None]), "b g 1 t e -> b t (g e)"
    )


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
    return rearrange(_Windowed.apply(values, weights), "b g h w e -> b (g e) h w")


def blocks(width: int, window: int) -> Iterator[slice]:
    """The positions along an axis that share a band matrix.

    Large enough to be worth a matrix product, small enough that the band is not mostly zeros.
    """
    rows = max(16, min(64, 2 * window))
    for start in range(0, width, rows):
        yield slice(start, min(start + rows, width))


class _Windowed(torch.autograd.Function):
    """x padded by the window, (b, g, h + n - 1, w + n - 1, e); weights (b, h, w, g, n, n)."""

    @staticmethod
    def forward(ctx, x, weights):  # noqa: ANN001, ANN205 - autograd's signature
        ctx.save_for_backward(x, weights)
        batch, height, width, groups = weights.shape[:4]
        y = x.new_zeros(batch, groups, height, width, x.shape[-1])
        for row, part in _parts(weights):
            mixed = torch.bmm(_band(weights[:, :, part, :, row]), _values(x, weights, row, part))
            y[:, :, :, part] += mixed.view(batch, groups, height, *mixed.shape[1:])
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        x, weights = ctx.saved_tensors
        batch, height, _, groups = weights.shape[:4]
        to_x, to_weights = torch.zeros_like(x), torch.empty_like(weights)
        for row, part in _parts(weights):
            band, values = _band(weights[:, :, part, :, row]), _values(x, weights, row, part)
            given = gradient[:, :, :, part].flatten(0, 2)
            spread = torch.bmm(band.transpose(1, 2), given)
            read = slice(part.start, part.start + spread.shape[1])
            to_x[:, :, row : row + height, read] += spread.view(
                batch, groups, height, *spread.shape[1:]
            )
            matched = _unband(torch.bmm(given, values.transpose(1, 2)), weights.shape[-1])
            to_weights[:, :, part, :, row] = rearrange(
                matched, "(b g h) r n -> b h r g n", b=batch, g=groups
            )
        return to_x, to_weights


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
