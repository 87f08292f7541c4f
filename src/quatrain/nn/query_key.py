"""What changes the queries and keys of the term E1 alone: a norm, and rotary positions.

    x~ = rotary(norm(x'))      of every head, before their product

Shapes: b batch, h heads, t positions, d width of a head, f planes, a axes.
"""

import math
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from quatrain.ops.rotary import axial_frequencies, rotate


class HeadNorm(nn.Module):
    """x / rms(x) over the channels of a head, times a learned weight for each channel.

    Source: Henry et al. 2020, https://arxiv.org/abs/2010.04245, section 3.
    Differs: queries and keys are divided by the root of their mean square and have a weight each,
        as in later models, instead of by their length, with one learned factor for both.

    Args:
        heads: the heads.
        width: the width of a head.
        initial: the initial weight.
    """

    def __init__(self, heads: int, width: int, initial: float = 1.0) -> None:
        super().__init__()
        self.initial = initial
        self.weight: nn.Parameter = nn.Parameter(torch.empty(heads, width))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Set all weights to the initial one."""
        nn.init.constant_(self.weight, self.initial)

    def extra_repr(self) -> str:
        """The heads and their width."""
        heads, width = self.weight.shape
        return f"heads={heads}, width={width}"

    def forward(self, x: Float[Tensor, "b h t d"]) -> Float[Tensor, "b h t d"]:
        """Normalize each head of each position."""
        exact = x.to(torch.promote_types(x.dtype, torch.float32))
        scale = (exact.square().mean(-1, keepdim=True) + torch.finfo(exact.dtype).eps).rsqrt()
        return (exact * scale * self.weight[:, None]).to(x.dtype)


class Rotary(nn.Module):
    """Rotate queries or keys by their positions; "mixed" learns the frequencies of each head.

    Source: Su et al. 2021, https://arxiv.org/abs/2104.09864, section 3.2; Heo et al. 2024,
        https://arxiv.org/abs/2403.13298, equations 9 ("axial") and 10 ("mixed").
    Differs: mixed frequencies begin with the wavelengths of axial ones, of which the authors' code
        has others, in a random direction for each plane of each head. In half precision they are as
        coarse as all parameters then are.
    """

    def __init__(
        self, kind: Literal["axial", "mixed"], heads: int, width: int, ndim: int, wavelength: float
    ) -> None:
        super().__init__()
        self.width, self.ndim, self.wavelength = width, ndim, wavelength
        self.mixed: nn.Parameter | None = None
        if kind == "mixed":
            self.mixed = nn.Parameter(torch.empty(heads, ndim, width // 2))
            self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the directions of learned frequencies."""
        if self.mixed is None:
            return
        heads, ndim, planes = self.mixed.shape
        sizes = self._axial(self.mixed).sum(0).to(self.mixed.dtype)
        angle = torch.rand(heads, planes, device=self.mixed.device) * (2 * math.pi)
        directions = torch.stack((angle.cos(), angle.sin()), dim=1) if ndim == 2 else 1.0
        with torch.no_grad():
            self.mixed.copy_(sizes * directions)

    def forward(
        self, x: Float[Tensor, "b h t d"], positions: Int[Tensor, "#t a"]
    ) -> Float[Tensor, "b h t d"]:
        """Rotate each position of each head."""
        return rotate(x, positions, self._axial(x) if self.mixed is None else self.mixed)

    def _axial(self, like: Tensor) -> Float[Tensor, "a f"]:
        exact = torch.promote_types(like.dtype, torch.float32)
        return axial_frequencies(
            self.width, self.ndim, self.wavelength, dtype=exact, device=like.device
        )

    def extra_repr(self) -> str:
        """The kind of frequencies, the width of a head and the wavelength."""
        kind = "axial" if self.mixed is None else "mixed"
        return f"{kind}, width={self.width}, ndim={self.ndim}, wavelength={self.wavelength:g}"
