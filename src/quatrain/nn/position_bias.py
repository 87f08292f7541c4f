"""E4 as a number for each head and relative position, instead of a product with an encoding.

    position    on maps                       source
    "table"     a sum over axes               Shaw et al. 2018, Raffel et al. 2020
    "t5"        a sum over axes               Raffel et al. 2020
    "alibi"     a sum over axes               Press et al. 2022
    "swin"      jointly for rows and columns  Liu et al. 2021
    "cpb"       jointly for rows and columns  Liu et al. 2022

A bias that is a sum over axes is a tuple of tensors, one per axis; a joint bias is one tensor.

Shapes: h heads, l relative positions that occur along an axis, a axes.
"""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import relu

from quatrain.nn.attention_spec import T5_BUCKETS, AttentionSpec
from quatrain.ops.positions import Grid
from quatrain.specs import Term

_MLP_WIDTH = 512
_INITIAL_STD = 0.02
_MAX_DISTANCE, _JOINT_MAX_DISTANCE = 128, 31


class AxialTable(nn.Module):
    """A learned number for each head and relative position, on maps a sum over axes.

    Distances of `max_distance` and more share a number; with `buckets`, those between two powers
    share one, too: T5's logarithmic buckets.

    Source: Shaw et al. 2018, https://arxiv.org/abs/1803.02155, section 3.2 (clipped distances);
        Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1 (numbers that are added
        to logits, and their buckets).
    Differs: rows and columns of a map have a table each, which is our own. Each layer has its own
        numbers; in T5 layers share them. T5's decoder has all of its buckets in the past; here half
        of them are in the future, as in its encoder, since a module learns at a call only whether
        it is causal.
    """

    def __init__(self, heads: int, ndim: int, max_distance: int, *, buckets: bool) -> None:
        super().__init__()
        self.max_distance, self.buckets = max_distance, buckets
        entries = T5_BUCKETS if buckets else 2 * max_distance + 1
        self.weight: nn.Parameter = nn.Parameter(torch.empty(ndim, heads, entries))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small numbers."""
        nn.init.trunc_normal_(self.weight, std=_INITIAL_STD)

    def extra_repr(self) -> str:
        """The heads, the axes, the distance from which on numbers are shared, and buckets."""
        ndim, heads, _ = self.weight.shape
        return f"{heads=}, {ndim=}, max_distance={self.max_distance}" + ", buckets" * self.buckets

    def forward(self, grid: Grid, _: Tensor) -> tuple[Float[Tensor, "h _"], ...]:
        """The numbers of all relative positions of `grid`, one tensor per axis."""
        device = self.weight.device
        index = t5_buckets if self.buckets else clipped_positions
        return tuple(
            by_position[:, index(grid.relative_tensor(axis, device), self.max_distance)]
            for axis, by_position in enumerate(self.weight)
        )


class Alibi(nn.Module):
    """The distance times a fixed slope of each head, 2^(-8 i / h) for the i-th of h heads.

    Source: Press et al. 2022, https://arxiv.org/abs/2108.12409, section 3.
    Differs: keys after the query, which the paper masks, have the slope of those before it; on a
        map the distances of the axes are added up. The released code has other slopes where the
        number of heads is no power of 2.
    """

    def __init__(self, heads: int, ndim: int) -> None:
        super().__init__()
        self.heads, self.ndim = heads, ndim

    def extra_repr(self) -> str:
        """The heads and the axes."""
        return f"heads={self.heads}, ndim={self.ndim}"

    def slopes(self, like: Tensor) -> Float[Tensor, "h 1"]:
        """The slope of each head, in float32 at least."""
        exact = torch.promote_types(like.dtype, torch.float32)
        number = torch.arange(1, self.heads + 1, device=like.device, dtype=exact)
        return torch.exp2(-8 / self.heads * number)[:, None]

    def forward(self, grid: Grid, like: Tensor) -> tuple[Float[Tensor, "h _"], ...]:
        """The bias of all relative positions of `grid`, one tensor per axis."""
        slopes = self.slopes(like)
        return tuple(
            slopes * -grid.relative_tensor(axis, like.device).abs() for axis in range(self.ndim)
        )


class JointTable(nn.Module):
    """A learned number for each head and pair of a relative row and column of a map.

    Source: Liu et al. 2021, https://arxiv.org/abs/2103.14030, equation 4.
    Differs: distances of `max_distance` and more share a number, so that any map fits. Numbers are
        in the order of k - q, in the released code in that of q - k. On sequences it is the table
        of the one axis.
    """

    def __init__(self, heads: int, ndim: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        entries = (2 * max_distance + 1,) * ndim
        self.weight: nn.Parameter = nn.Parameter(torch.empty(heads, *entries))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small numbers."""
        nn.init.trunc_normal_(self.weight, std=_INITIAL_STD)

    def extra_repr(self) -> str:
        """The heads, the axes, and the distance from which on numbers are shared."""
        ndim, heads = self.weight.ndim - 1, self.weight.shape[0]
        return f"{heads=}, {ndim=}, max_distance={self.max_distance}"

    def forward(
        self, grid: Grid, _: Tensor
    ) -> tuple[Float[Tensor, "h l"]] | Float[Tensor, "h rows columns"]:
        """The numbers of all relative positions of `grid`, jointly for both axes of a map."""
        axes = [
            clipped_positions(grid.relative_tensor(axis, self.weight.device), self.max_distance)
            for axis in range(grid.ndim)
        ]
        numbers = self.weight[(slice(None), *torch.meshgrid(*axes, indexing="ij"))]
        return (numbers,) if grid.ndim == 1 else numbers


class ContinuousBias(nn.Module):
    """A network of two layers from the relative position to a number for each head.

    It runs at each call, also in evaluation. Its output is not cached until the weights change:
    torch does not record a change through `.data`, which leaves `_version` and `data_ptr` as they
    are, and counts of multiply-adds would depend on earlier calls. The steps of a decoding have it
    in their state.

    Source: Liu et al. 2022, https://arxiv.org/abs/2111.09883, section 3.3.
    Differs: as in the released code, a coordinate p enters as sign(p) log2(1 + |8 p / D|) / 3 with
        D = `max_distance`, and the number is 16 times the sigmoid of the output; p is k - q, in the
        released code q - k. The network takes one coordinate on sequences.
    """

    def __init__(self, heads: int, ndim: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.hidden: nn.Linear = nn.Linear(ndim, _MLP_WIDTH)
        self.output: nn.Linear = nn.Linear(_MLP_WIDTH, heads, bias=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw small weights, and set the bias to zero."""
        for layer in (self.hidden, self.output):
            nn.init.trunc_normal_(layer.weight, std=_INITIAL_STD)
        nn.init.zeros_(self.hidden.bias)

    def extra_repr(self) -> str:
        """The distance that is 8 before the logarithm."""
        return f"max_distance={self.max_distance}"

    def forward(
        self, grid: Grid, _: Tensor
    ) -> tuple[Float[Tensor, "h l"]] | Float[Tensor, "h rows columns"]:
        """The numbers of all relative positions of `grid`, jointly for both axes of a map."""
        axes = [self._coordinates(grid, axis) for axis in range(grid.ndim)]
        coordinates = torch.stack(torch.meshgrid(*axes, indexing="ij"), dim=-1)
        hidden = relu(self.hidden(coordinates.to(self.hidden.weight.dtype)))
        output = self.output(hidden).movedim(-1, 0)
        numbers = 16 * output.to(torch.promote_types(output.dtype, torch.float32)).sigmoid()
        return (numbers,) if grid.ndim == 1 else numbers

    def _coordinates(self, grid: Grid, axis: int) -> Float[Tensor, " l"]:
        weight = self.hidden.weight
        exact = torch.promote_types(weight.dtype, torch.float32)
        scaled = grid.relative_tensor(axis, weight.device).to(exact) * (8 / self.max_distance)
        return scaled.sign() * (1 + scaled.abs()).log2() / 3


def clipped_positions(positions: Int[Tensor, " l"], max_distance: int) -> Int[Tensor, " l"]:
    """The index of each relative position in a table from -`max_distance` to `max_distance`.

    Source: Shaw et al. 2018, https://arxiv.org/abs/1803.02155, section 3.2.
    """
    return positions.clamp(-max_distance, max_distance) + max_distance


def t5_buckets(positions: Int[Tensor, " l"], max_distance: int) -> Int[Tensor, " l"]:
    """The bucket of each relative position: 16 for keys up to the query, then 16 for later ones.

    Of each 16 the first 8 are the distances 0 to 7; the others end at powers of a ratio, the last
    but one at `max_distance`.

    Source: Raffel et al. 2020, https://arxiv.org/abs/1910.10683, section 2.1, and its code, which
        rounds in float32.
    """
    half, exact = T5_BUCKETS // 2, T5_BUCKETS // 4
    distance = positions.abs()
    octaves = (distance.clamp(min=exact).float() / exact).log() / math.log(max_distance / exact)
    distant = (exact + (octaves * (half - exact)).long()).clamp(max=half - 1)
    return torch.where(distance < exact, distance, distant) + half * (positions > 0)


PositionBias = AxialTable | Alibi | JointTable | ContinuousBias
"""What gives E4 where encodings do not."""


def build_position_bias(spec: AttentionSpec, ndim: int) -> PositionBias | None:
    """The module that the spec names; None where E4 is off or a product with encodings.

    Source: the papers of the classes.
    """
    if not spec.terms.has(Term.POSITION):
        return None
    distance = spec.max_distance or _default_max_distance(spec, ndim)
    match spec.position:
        case None:
            return None
        case "table" | "t5":
            return AxialTable(spec.heads, ndim, distance, buckets=spec.position == "t5")
        case "alibi":
            return Alibi(spec.heads, ndim)
        case "swin":
            return JointTable(spec.heads, ndim, distance)
        case "cpb":
            return ContinuousBias(spec.heads, ndim, distance)


def biases_between(bias: PositionBias, like: Tensor, positions: range) -> Float[Tensor, "h l"]:
    """The numbers of consecutive relative positions of a sequence.

    Source: the papers of the classes.
    """
    grid = Grid((1,), (len(positions),), first_query=-positions.start)
    (numbers,) = bias(grid, like)
    return numbers


def _default_max_distance(spec: AttentionSpec, ndim: int) -> int:
    if spec.position != "t5" and spec.window is not None:
        return max(1, spec.window - 1 if ndim == 1 else spec.window // 2)
    return _JOINT_MAX_DISTANCE if spec.table_on(ndim) == "joint" else _MAX_DISTANCE
