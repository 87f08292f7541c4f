"""Deformable convolution: a convolution whose taps are displaced by what each position asks for.

    y[q] = sum over taps m of W_m (modulation[q, m] * x(stride * q + p_m + offset[q, m]))

x is read between its positions by linear interpolation, and is zero outside. Each tap is sampled,
multiplied with its matrix and forgotten, forward and backward, so that memory does not grow with
the number of taps.

Shapes: b batch, t and p positions before and after, h w and v u likewise on maps, l positions of
any grid, n axes, m taps, k corners, c and o channels, d groups of channels that share their
offsets, g groups of the convolution, i and j channels of one, e channels of an offset group.
"""

import itertools
import math
from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.derivatives import (
    GATHER,
    REVERSE,
    refuse_second_derivatives_of,
    refuse_tangents,
    refuse_transforms,
    refuse_vmap,
)
from quatrain.ops.precision import autocast_disabled, upcast
from quatrain.ops.sampling import corners, gather, match, scatter
from quatrain.specs import InputError, SpecError, name_missing_extra

Method = Literal["auto", "gather", "torchvision"]


@dataclass(frozen=True)
class Taps:
    """Where the taps of a convolution lie on a grid before they are displaced.

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
    def reached(self) -> tuple[int, ...]:
        """The sizes of the output."""
        return tuple(
            (size + 2 * self.padding - self.dilation * (kernel - 1) - 1) // self.stride + 1
            for size, kernel in zip(self.sizes, self.kernel, strict=True)
        )

    def positions(self, like: Float[Tensor, "..."]) -> Float[Tensor, "p m n"]:
        """The coordinates of every tap of every output position, in the type of `like`."""
        queries = torch.cartesian_prod(
            *(torch.arange(size, device=like.device) for size in self.reached)
        ).reshape(-1, len(self.sizes))
        taps = torch.tensor(
            list(itertools.product(*map(range, self.kernel))), device=like.device
        ).reshape(-1, len(self.sizes))
        lattice = queries[:, None] * self.stride - self.padding + taps * self.dilation
        return lattice.to(like.dtype)


@dataclass(frozen=True)
class Plan:
    """The chosen method and, in a sentence, why."""

    method: Literal["gather", "torchvision"]
    why: str


def plan(method: Method = "auto", *, ndim: int) -> Plan:
    """Choose how a deformable convolution is computed, or check what the caller forces.

    Raises:
        SpecError: if torchvision's kernel is asked for on a sequence.
    """
    if method == "torchvision" and ndim == 1:
        raise SpecError("method", method, '"gather" on a sequence', "torchvision has maps only")
    if method == "torchvision":
        return Plan("torchvision", "it was asked for")
    why = "it was asked for" if method == "gather" else "it holds one tap at a time"
    return Plan("gather", why)


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

    With `causal` the taps end at their query (`padding` is ignored), and no displacement carries
    one beyond it: it is clamped there. Offsets may then be given for the last positions only.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.
    Differs: the paper does not say how deformable convolution meets a decoder's causality.

    Raises:
        InputError: if a shape does not fit.
    """
    if causal:
        padding = (weight.shape[2] - 1) * dilation
    taps = Taps((x.shape[1],), tuple(weight.shape[2:]), stride, padding, dilation)
    queries = -(-x.shape[1] // stride) if causal else taps.reached[0]
    first = max(0, queries - offset.shape[1]) if causal else 0
    share = _share(offset.shape[2], taps)
    expected = (x.shape[0], queries - first, share * taps.count)
    _check("offset", offset, expected)
    if modulation is not None:
        _check("modulation", modulation, expected)
        modulation = rearrange(modulation, "b p (d m) -> b p d m", d=share)
    moved = rearrange(upcast(offset), "b p (d m) -> b p d m 1", d=share)
    positions = taps.positions(moved)[first:queries, None] + moved
    if causal:
        here = torch.arange(first, queries, device=x.device, dtype=moved.dtype) * stride
        positions = positions.clamp(max=here[:, None, None, None])
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

    The offsets of a tap are y, then x, as in torchvision.

    Source: Dai et al. 2017, https://arxiv.org/abs/1703.06211, equation 2; modulation from Zhu et
        al. 2018, https://arxiv.org/abs/1811.11168, equation 1.

    Raises:
        InputError: if a shape does not fit.
    """
    taps = Taps(tuple(x.shape[2:]), tuple(weight.shape[2:]), stride, padding, dilation)
    high, wide = taps.reached
    share = _share(offset.shape[1] // 2, taps)
    _check("offset", offset, (x.shape[0], 2 * share * taps.count, high, wide))
    if modulation is not None:
        _check("modulation", modulation, (x.shape[0], share * taps.count, high, wide))
    if plan(method, ndim=2).method == "torchvision":
        return _by_torchvision(x, offset, weight, taps, modulation)
    if modulation is not None:
        modulation = rearrange(modulation, "b (d m) v u -> b (v u) d m", d=share)
    moved = rearrange(upcast(offset), "b (d m n) v u -> b (v u) d m n", d=share, n=2)
    positions = taps.positions(moved)[:, None] + moved
    rows = rearrange(x, "b c h w -> b (h w) c")
    y = sampled_conv(rows, positions, weight.flatten(2), taps.sizes, modulation)
    return rearrange(y, "b (v u) o -> b o v u", v=high)


def sampled_conv(
    x: Float[Tensor, "b l c"],
    positions: Float[Tensor, "b p d m n"],
    weight: Float[Tensor, "o i m"],
    sizes: tuple[int, ...],
    modulation: Float[Tensor, "b p d m"] | None = None,
    *,
    causal: bool = False,
) -> Float[Tensor, "b p o"]:
    """The sum over taps of what lies at their positions, each multiplied with its matrix.

    `positions` are coordinates on the grid of `sizes`, whose positions are those of x in order.
    Half precision is computed in float32.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.

    Raises:
        InputError: if the groups do not divide the channels.
    """
    refuse_tangents((x, positions, weight, modulation), REVERSE)
    refuse_vmap((x, positions, weight, modulation))
    batch, count, share, _ = positions.shape[:4]
    groups = _groups(x.shape[2], weight, share)
    at, near = corners(positions, sizes, causal=causal)
    if modulation is not None:
        near = near * modulation[..., None]
    # Row (b * l + position) * d + group holds one position's channels of one offset group.
    starts = torch.arange(batch, device=x.device).reshape(-1, 1, 1, 1, 1) * x.shape[1]
    at = (at + starts) * share + torch.arange(share, device=x.device)[:, None, None]
    at = rearrange(at, "b p d m k -> m (b p d) k")
    near = rearrange(near, "b p d m k -> m (b p d) k")
    rows = rearrange(upcast(x), "b l (d e) -> (b l d) e", d=share)
    kernel = rearrange(upcast(weight), "(g j) i m -> m g i j", g=groups)
    with autocast_disabled(x):
        y = _SampledConv.apply(rows, near, kernel, at)
    return rearrange(y, "g (b p) j -> b p (g j)", b=batch, p=count).to(x.dtype)


class _SampledConv(torch.autograd.Function):
    """rows (l, e), near and at (m, p, k), kernel (m, g, i, j) -> (g, p, j)."""

    @staticmethod
    def forward(rows, near, kernel, at):  # noqa: ANN001, ANN205 - autograd's signature
        y = torch.bmm(_grouped(gather(rows, at[0], near[0]), kernel), kernel[0])
        for tap in range(1, len(kernel)):
            y.baddbmm_(_grouped(gather(rows, at[tap], near[tap]), kernel), kernel[tap])
        return y

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205
        del output
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205
        rows, near, kernel, at = ctx.saved_tensors
        to_rows: Tensor | None = None
        to_near: list[Tensor] = []
        to_kernel: list[Tensor] = []
        for tap in range(len(kernel)):
            if ctx.needs_input_grad[2]:
                sampled = _grouped(gather(rows, at[tap], near[tap]), kernel)
                to_kernel.append(torch.bmm(sampled.transpose(1, 2), gradient))
            given = torch.bmm(gradient, kernel[tap].transpose(1, 2))
            given = rearrange(given, "g p i -> p (g i)").reshape(-1, rows.shape[1])
            if ctx.needs_input_grad[0]:
                spread = scatter(given, at[tap], near[tap], len(rows))
                to_rows = spread if to_rows is None else to_rows + spread
            if ctx.needs_input_grad[1]:
                to_near.append(match(given, rows, at[tap]))
        return (
            to_rows,
            torch.stack(to_near) if to_near else None,
            torch.stack(to_kernel) if to_kernel else None,
            None,
        )


def _grouped(
    sampled: Float[Tensor, "pd e"], kernel: Float[Tensor, "m g i j"]
) -> Float[Tensor, "g p i"]:
    """What was sampled, by the channel groups of the convolution."""
    groups, width = kernel.shape[1:3]
    return sampled.reshape(-1, groups, width).transpose(0, 1)


def _by_torchvision(
    x: Tensor, offset: Tensor, weight: Tensor, taps: Taps, modulation: Tensor | None
) -> Tensor:
    # Importing it takes two seconds, which only who asks for its kernel should wait for.
    with name_missing_extra():
        from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

    # Its kernel takes any number for a coordinate, NaN included; ours reads zero there.
    refuse_tangents((x, offset, weight, modulation), REVERSE)
    refuse_transforms((x, offset, weight, modulation), GATHER)
    nowhere = float(2 * max(taps.sizes) + 2 * taps.padding + taps.dilation * max(taps.kernel))
    placed = torch.where(offset.abs() < nowhere, offset, -nowhere)
    with autocast_disabled(x):
        y = torchvision_deform_conv2d(
            upcast(x),
            upcast(placed),
            upcast(weight),
            stride=(taps.stride, taps.stride),
            padding=(taps.padding, taps.padding),
            dilation=(taps.dilation, taps.dilation),
            mask=None if modulation is None else upcast(modulation),
        )
    refuse_second_derivatives_of(y, GATHER)
    return y.to(x.dtype)


def _share(taps_of_all: int, taps: Taps) -> int:
    """How many groups of channels have offsets of their own."""
    return max(1, taps_of_all // taps.count)


def _groups(channels: int, weight: Tensor, share: int) -> int:
    """How many groups the convolution has."""
    outputs, width = weight.shape[:2]
    if channels % width or outputs % (channels // width):
        raise InputError(
            "weight",
            f"of shape {tuple(weight.shape)}",
            f"(outputs, {channels} / groups, taps), with groups that divide the outputs",
            "change the channels or the groups",
        )
    if channels % share:
        raise InputError(
            "offset",
            f"for {share} groups of channels",
            f"a number of groups that divides the {channels} channels",
            "change the channels or the groups",
        )
    return channels // width


def _check(name: str, given: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(given.shape) != expected:
        raise InputError(
            name,
            f"of shape {tuple(given.shape)}",
            str(expected),
            "give one number for each tap and axis (y, x) at each output position",
        )
