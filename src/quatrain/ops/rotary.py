"""Rotary positions: queries and keys are rotated by angles in proportion to their coordinates.

    q~_i = R(i) q_i,   k~_j = R(j) k_j,   q~_i . k~_j = q_i . R(j - i) k_j

R(p) rotates the channels (c, c + d/2) of a head of width d as a plane, by the angle p . f_c: the
dot product of a position with a frequency for each axis. So E1 depends on the relative position.

Shapes: b batch, h heads, t positions, d width of a head, f = d/2 planes, a axes.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from quatrain.ops.precision import autocast_disabled
from quatrain.specs import InputError


def axial_frequencies(
    width: int,
    ndim: int,
    wavelength: float,
    *,
    dtype: torch.dtype = torch.float64,
    device: torch.device | None = None,
) -> Float[Tensor, "a f"]:
    """Frequencies of geometrically spaced wavelengths, for each axis in planes of its own.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, equation 15, on a sequence; Heo et al.
        2024, https://arxiv.org/abs/2403.13298, section 3.2 (RoPE-Axial), on a map.
    Differs: the planes are the channels c and c + d/2 instead of neighbours, which is a fixed
        permutation of the channels.

    Args:
        width: the width d of a head, a multiple of twice the axes.
        ndim: the axes.
        wavelength: the base of the wavelengths.
        dtype: the type, float32 or float64.
        device: where the tensor is made.

    Raises:
        InputError: if the width does not fit.
    """
    if width % (2 * ndim):
        raise InputError(f"width={width} is no multiple of {2 * ndim}; change it", "width")
    planes = width // 2 // ndim
    index = torch.arange(planes, dtype=dtype, device=device)
    by_axis = torch.exp(index * (-math.log(wavelength) / planes))
    return torch.block_diag(*[by_axis] * ndim)


def rotate(
    x: Float[Tensor, "b h t d"],
    positions: Int[Tensor, "#t a"],
    frequencies: Float[Tensor, "*h a f"],
) -> Float[Tensor, "b h t d"]:
    """R(p) x for each position p; angles are float32, or float64, whatever the type of `x`.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, equations 14 and 34.

    Args:
        x: queries or keys.
        positions: the coordinates of each; one for all if there is one.
        frequencies: those of all heads, or of each head.
    """
    with autocast_disabled(x):
        exact = torch.promote_types(x.dtype, torch.float32)
        by_axis = positions.to(exact).mT[..., None] * frequencies.to(exact)[..., None, :]
        angles = by_axis.sum(-3)
        cosine, sine = angles.cos(), angles.sin()
        first, second = x.to(exact).chunk(2, dim=-1)
        rotated = (first * cosine - second * sine, second * cosine + first * sine)
        return torch.cat(rotated, dim=-1).to(x.dtype)
