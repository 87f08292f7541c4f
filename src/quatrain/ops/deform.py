"""Deformable convolution: a convolution whose taps are displaced by an offset per position.

    y[q] = sum over taps m of W_m (modulation[q, m] * x(stride * q + p_m + offset[q, m]))

x is read between its positions by linear interpolation, and is zero outside. One tap at a time is
sampled and multiplied with its matrix, forward and backward, so that memory does not grow with the
number of taps.

Shapes: b batch, t and p positions before and after, h w and v u likewise on maps, l positions of
any grid, n axes, m taps, k corners, c and o channels, d offset groups (channels that share their
offsets), g groups of the convolution, i and j channels of one, e channels of an offset group.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.derivatives import (
    ANY_ORDER,
    USE_GATHER,
    USE_REVERSE_MODE,
    SavingInputs,
    check_kernel_second_derivatives,
    check_transforms,
)
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.sampling import cell_corners, corner_products, weighted_gather, weighted_scatter
from quatrain.specs import InputError, SpecError, name_missing_extra
from quatrain.specs.errors import shorten

Method = Literal["auto", "gather", "torchvision"]
_METHODS = get_args(Method)


@dataclass(frozen=True)
class Taps:
    """The regular positions of a convolution's taps on a grid, before offsets.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 3.
    """

    sizes: tuple[int, ...]
    kernel: tuple[int, ...]
    stride: int
    padding: int
    dilation: int

    @property
    def count(self) -> int:
        """Taps over all axes."""
        return math.prod(self.kernel)

    @property
    def output_sizes(self) -> tuple[int, ...]:
        """Sizes of the output."""
        return tuple(
            (size + 2 * self.padding - self.dilation * (kernel - 1) - 1) // self.stride + 1
            for size, kernel in zip(self.sizes, self.kernel, strict=True)
        )

    def positions(self, like: Float[Tensor, "..."]) -> Float[Tensor, "p m n"]:
        """Coordinates of every tap of every output position, in the type of `like`."""
        outputs = torch.cartesian_prod(
            *(torch.arange(size, device=like.device) for size in self.output_sizes)
        ).reshape(-1, len(self.sizes))
        taps = torch.tensor(
            list(itertools.product(*map(range, self.kernel))), device=like.device
        ).reshape(-1, len(self.sizes))
        positions = outputs[:, None] * self.stride - self.padding + taps * self.dilation
        return positions.to(like.dtype)


def choose_method(method: Method = "auto", *, ndim: int) -> Literal["gather", "torchvision"]:
    """Choose the method of a deformable convolution, or check a forced one."""
    if method not in _METHODS:
        known = ", ".join(f'"{name}"' for name in _METHODS)
        raise SpecError(f"method={shorten(method)} is not one of {known}", "method")
    if method == "torchvision" and ndim == 1:
        message = 'method="torchvision" works on maps only; use "gather" on a sequence'
        raise SpecError(message, "method")
    return "torchvision" if method == "torchvision" else "gather"


def deform_conv1d(
    x: Float[Tensor, "b t c"],
    offset: Float[Tensor, "b p dm"],
    weight: Float[Tensor, "o i m"],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    modulation: Float[Tensor, "b p dm"] | None = None,
    causal: bool = False,
) -> Float[Tensor, "b p o"]:
    """Deformable convolution of a sequence, by linear interpolation along it.

    With `causal` the taps end at their query (`padding` is ignored), and sampling positions are
    clamped to it. `offset` may then cover the last positions only.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    Differs: the paper does not say how deformable convolution is causal in a decoder.
    """
    if causal:
        padding = (weight.shape[2] - 1) * dilation
    taps = Taps((x.shape[1],), tuple(weight.shape[2:]), stride, padding, dilation)
    queries = -(-x.shape[1] // stride) if causal else taps.output_sizes[0]
    first = max(0, queries - offset.shape[1]) if causal else 0
    groups = max(1, offset.shape[2] // taps.count)
    expected = (x.shape[0], queries - first, groups * taps.count)
    _check_shape("offset", offset, expected)
    if modulation is not None:
        _check_shape("modulation", modulation, expected)
        modulation = rearrange(modulation, "b p (d m) -> b p d m", d=groups)
    offsets = rearrange(upcast(offset), "b p (d m) -> b p d m 1", d=groups)
    positions = taps.positions(offsets)[first:queries, None] + offsets
    if causal:
        query = torch.arange(first, queries, device=x.device, dtype=offsets.dtype) * stride
        positions = positions.clamp(max=query[:, None, None, None])
    return sampled_conv(x, positions, weight, taps.sizes, modulation, causal=causal)


def deform_conv2d(
    x: Float[Tensor, "b c h w"],
    offset: Float[Tensor, "b dmn v u"],
    weight: Float[Tensor, "o i ky kx"],
    *,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
    modulation: Float[Tensor, "b dm v u"] | None = None,
    method: Method = "auto",
) -> Float[Tensor, "b o v u"]:
    """Deformable convolution of a map, by bilinear interpolation.

    Offsets are ordered y, x for each tap, as in torchvision.

    Source: Dai et al. 2017, https://arxiv.org/abs/1703.06211, equation 2; modulation from Zhu et
        al. 2018, https://arxiv.org/abs/1811.11168, equation 1.
    """
    taps = Taps(tuple(x.shape[2:]), tuple(weight.shape[2:]), stride, padding, dilation)
    height, width = taps.output_sizes
    groups = max(1, offset.shape[1] // (2 * taps.count))
    _check_shape("offset", offset, (x.shape[0], 2 * groups * taps.count, height, width))
    if modulation is not None:
        _check_shape("modulation", modulation, (x.shape[0], groups * taps.count, height, width))
    if choose_method(method, ndim=2) == "torchvision":
        return _torchvision_conv(x, offset, weight, taps, modulation)
    if modulation is not None:
        modulation = rearrange(modulation, "b (d m) v u -> b (v u) d m", d=groups)
    offsets = rearrange(upcast(offset), "b (d m n) v u -> b (v u) d m n", d=groups, n=2)
    positions = taps.positions(offsets)[:, None] + offsets
    rows = rearrange(x, "b c h w -> b (h w) c")
    y = sampled_conv(rows, positions, weight.flatten(2), taps.sizes, modulation)
    return rearrange(y, "b (v u) o -> b o v u", v=height)


def sampled_conv(
    x: Float[Tensor, "b l c"],
    positions: Float[Tensor, "b p d m n"],
    weight: Float[Tensor, "o i m"],
    sizes: tuple[int, ...],
    modulation: Float[Tensor, "b p d m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "b p o"]:
    """The sum over taps of the content sampled at their positions, times the tap's matrix.

    `positions` are coordinates on the grid of `sizes`, whose cells x lists in order. Half precision
    is computed in float32.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    """
    tensors = (x, positions, weight, modulation)
    check_transforms(tensors, USE_REVERSE_MODE, order=ANY_ORDER)
    batch, count, offset_groups, _ = positions.shape[:4]
    groups = _groups(x.shape[2], weight, offset_groups)
    at, corner_weights = cell_corners(positions, sizes, causal=causal)
    if modulation is not None:
        corner_weights = corner_weights * modulation[..., None]
    # Row (b * l + position) * d + group has one position's channels of one offset group.
    starts = torch.arange(batch, device=x.device).reshape(-1, 1, 1, 1, 1) * x.shape[1]
    group = torch.arange(offset_groups, device=x.device)[:, None, None]
    at = (at + starts) * offset_groups + group
    at = rearrange(at, "b p d m k -> m (b p d) k")
    corner_weights = rearrange(corner_weights, "b p d m k -> m (b p d) k")
    rows = rearrange(upcast(x), "b l (d e) -> (b l d) e", d=offset_groups)
    kernel = rearrange(upcast(weight), "(g j) i m -> m g i j", g=groups)
    with autocast_disabled(x):
        y = _SampledConv.apply(rows, corner_weights, kernel, at)
    return rearrange(y, "g (b p) j -> b p (g j)", b=batch, p=count).to(x.dtype)


class _SampledConv(SavingInputs):
    """rows (l, e), corner weights and at (m, p, k), kernel (m, g, i, j) -> (g, p, j)."""

    @staticmethod
    def forward(rows, weights, kernel, at):  # noqa: ANN001, ANN205 - autograd's signature
        y = torch.bmm(_grouped(weighted_gather(rows, at[0], weights[0]), kernel), kernel[0])
        for tap in range(1, len(kernel)):
            sampled = _grouped(weighted_gather(rows, at[tap], weights[tap]), kernel)
            y.baddbmm_(sampled, kernel[tap])
        return y

    @staticmethod
    def backward(ctx, grad_y):  # noqa: ANN001, ANN205
        rows, weights, kernel, at = ctx.saved_tensors
        grad_rows: Tensor | None = None
        grad_weights: list[Tensor] = []
        grad_kernel: list[Tensor] = []
        for tap in range(len(kernel)):
            if ctx.needs_input_grad[2]:
                sampled = _grouped(weighted_gather(rows, at[tap], weights[tap]), kernel)
                grad_kernel.append(torch.bmm(sampled.transpose(1, 2), grad_y))
            grad_sampled = torch.bmm(grad_y, kernel[tap].transpose(1, 2))
            grad_sampled = rearrange(grad_sampled, "g p i -> p (g i)").reshape(-1, rows.shape[1])
            if ctx.needs_input_grad[0]:
                update = weighted_scatter(grad_sampled, at[tap], weights[tap], len(rows))
                grad_rows = update if grad_rows is None else grad_rows + update
            if ctx.needs_input_grad[1]:
                grad_weights.append(corner_products(grad_sampled, rows, at[tap]))
        return (
            grad_rows,
            torch.stack(grad_weights) if grad_weights else None,
            torch.stack(grad_kernel) if grad_kernel else None,
            None,
        )


def _grouped(
    sampled: Float[Tensor, "pd e"], kernel: Float[Tensor, "m g i j"]
) -> Float[Tensor, "g p i"]:
    """Sampled content, split by the groups of the convolution."""
    groups, width = kernel.shape[1:3]
    return sampled.reshape(-1, groups, width).transpose(0, 1)


def _torchvision_conv(
    x: Tensor, offset: Tensor, weight: Tensor, taps: Taps, modulation: Tensor | None
) -> Tensor:
    # Importing torchvision takes two seconds, and it is not part of the core install.
    with name_missing_extra():
        from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

    # torchvision's kernel reads anything at NaN and huge offsets; ours reads zero there.
    tensors = (x, offset, weight, modulation)
    check_transforms(tensors, USE_REVERSE_MODE, order=ANY_ORDER, vmap=True)
    check_transforms(tensors, USE_GATHER)
    outside = float(2 * max(taps.sizes) + 2 * taps.padding + taps.dilation * max(taps.kernel))
    offset = torch.where(offset.abs() < outside, offset, -outside)
    with autocast_disabled(x):
        y = torchvision_deform_conv2d(
            upcast(x),
            upcast(offset),
            upcast(weight),
            stride=(taps.stride, taps.stride),
            padding=(taps.padding, taps.padding),
            dilation=(taps.dilation, taps.dilation),
            mask=None if modulation is None else upcast(modulation),
        )
    check_kernel_second_derivatives(y, USE_GATHER)
    return y.to(x.dtype)


def _groups(channels: int, weight: Tensor, offset_groups: int) -> int:
    """How many groups the convolution has."""
    outputs, width = weight.shape[:2]
    if channels % width or outputs % (channels // width):
        raise InputError(
            f"weight of shape {tuple(weight.shape)} does not fit {channels} channels; its shape is "
            "(outputs, channels / groups, taps), with groups that divide channels and outputs",
            "weight",
        )
    if channels % offset_groups:
        raise InputError(
            f"the {offset_groups} groups of offset do not divide {channels} channels; "
            "change the channels or the groups",
            "offset",
        )
    return channels // width


def _check_shape(name: str, x: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(x.shape) != expected:
        raise InputError(
            f"{name} of shape {tuple(x.shape)} should have shape {expected}; "
            "pass one number per tap and axis (y, x) at each output position",
            name,
        )
