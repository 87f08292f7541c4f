"""Attention of a query block whose weights are a product over rows and columns of keys.

On a map, without the term E1, the weight of a query-key pair is one number for the query and the
row of keys, times one for the query and the column, times one for the key (from E3), over their
sum. So columns are summed first, by one matrix product for each row of keys, and then rows:

    row_sums[q, ky, :]  = sum_kx columns[q, kx] key_weights[ky, kx] [value[ky, kx], 1]
    [output, total]     = sum_ky rows[q, ky] row_sums[q, ky, :]

No exponential is taken per pair, and no matrix of pairs exists. The backward pass retraces the
same two sums. A null key adds its weight to the total.

Exponentials that are shifted separately underflow when logits are spread wide. Where a total may
have lost precision, the functions return None, and the caller falls back to the softmax.

Shapes: b batch, h heads, n queries of a block, v rows and u columns of the keys that it reaches,
e width of a value, c e + 1 channels: those of a value, and 1.
"""

from dataclasses import dataclass, field
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise.inputs import Workspace, accumulate_product, is_masked


@dataclass(frozen=True)
class WeightedValues:
    """Values and 1, each times the weight of its key, and the sum of their gradients."""

    values: Float[Tensor, "b h u v c"]
    key_weights: Float[Tensor, "#b #h v u"] | None
    highest: Float[Tensor, "#b #h 1 1"] | None
    row_sums: Workspace = field(default_factory=Workspace)

    @classmethod
    def of(
        cls, value: Float[Tensor, "b h v u e"], logits: Float[Tensor, "#b #h v u"] | None
    ) -> "WeightedValues":
        """From the values and logits of a rectangle of keys; without logits, weights are 1."""
        values = torch.cat((value, torch.ones_like(value[..., :1])), dim=-1)
        key_weights = highest = None
        if logits is not None:
            highest = logits.amax((-2, -1), keepdim=True)
            key_weights = (logits - highest).exp().masked_fill(is_masked(highest), 0.0)
            values = values * key_weights[..., None]
        return cls(values.transpose(2, 3).contiguous(), key_weights, highest)

    @cached_property
    def grad_sum(self) -> Float[Tensor, "b h u v c"]:
        """The sum of the blocks' gradients of values and 1, before the weights multiply it."""
        return torch.zeros_like(self.values)

    def gradients(self) -> tuple[Float[Tensor, "b h v u e"], Float[Tensor, "b h v u"]]:
        """Gradients of values and of logits, summed over blocks."""
        grad_logits = (self.grad_sum * self.values).sum(-1).transpose(2, 3)
        grad_value = self.grad_sum[..., :-1].transpose(2, 3)
        if self.key_weights is not None:
            grad_value = grad_value * self.key_weights[..., None]
        return grad_value, grad_logits


@dataclass(frozen=True)
class AxisWeights:
    """The softmax of a block's row bias, and that of its column bias.

    `lse` is the sum of their logsumexps, by which a null key is compared with them; None without.
    """

    rows: Float[Tensor, "b h n v"]
    columns: Float[Tensor, "b h n u"]
    lse: Float[Tensor, "b h n 1"] | None = None

    @classmethod
    def of(cls, biases: list[Tensor], *, null_key: bool = False) -> "AxisWeights":
        """From the row bias and the column bias; columns that are all masked have weight 0."""
        rows, columns = (bias.softmax(-1) for bias in biases)
        empty = is_masked(biases[1].amax(-1, keepdim=True))
        lse = None
        if null_key:
            lse = biases[0].logsumexp(-1, keepdim=True) + biases[1].logsumexp(-1, keepdim=True)
        return cls(rows, columns.masked_fill(empty, 0.0), lse)

    def null_weight(self, highest: Tensor | None) -> Float[Tensor, "b h n 1"] | float:
        """The weight of the null key in the scale of the others; 0 without such a key."""
        if self.lse is None:
            return 0.0
        return (-self.lse if highest is None else -self.lse - highest).exp()


@dataclass(frozen=True)
class FactoredSums:
    """Sums over columns per row of keys (overwritten by the next block), outputs and totals."""

    row_sums: Float[Tensor, "b h n v c"]
    output: Float[Tensor, "b h n e"]
    total: Float[Tensor, "b h n 1"]


def factored_sums(weights: AxisWeights, keys: WeightedValues) -> FactoredSums | None:
    """Sum over columns, then over rows; None where a total may be off by more than a rounding.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; that its weights are
        products without the term E1, and this order of sums, are our own.
    """
    sizes = (*weights.columns.shape[:3], *keys.values.shape[3:])
    row_sums = keys.row_sums.buffer(sizes, keys.values)
    columns, values = weights.columns.flatten(0, 1), keys.values.flatten(3).flatten(0, 1)
    torch.bmm(columns, values, out=row_sums.flatten(3).flatten(0, 1))
    sums = (weights.rows[..., None, :] @ row_sums)[..., 0, :]
    total = sums[..., -1:] + weights.null_weight(keys.highest)
    limits, count = torch.finfo(total.dtype), weights.rows.shape[-1] * weights.columns.shape[-1]
    if not bool((total > count * limits.tiny / limits.eps**1.5).all()):
        return None
    return FactoredSums(row_sums, sums[..., :-1] / total, total)


def factored_backward(
    weights: AxisWeights,
    keys: WeightedValues,
    output: Float[Tensor, "b h n e"],
    grad_output: Float[Tensor, "b h n e"],
) -> tuple[Float[Tensor, "b h n v"], Float[Tensor, "b h n u"]] | None:
    """Gradients of row and column bias; those of keys are added to `keys.grad_sum`.

    None where `factored_sums` returns None.
    """
    forward = factored_sums(weights, keys)
    if forward is None:
        return None
    # The channel of ones lets the products subtract the mean, grad_output . output.
    mean = (grad_output * output).sum(-1, keepdim=True)
    grad_sums = torch.cat((grad_output, -mean), dim=-1) / forward.total
    grad_rows = weights.rows * (forward.row_sums * grad_sums[..., None, :]).sum(-1)
    grad_row_sums = (weights.rows[..., None] * grad_sums[..., None, :]).flatten(3)
    grad_columns = weights.columns * (grad_row_sums @ keys.values.flatten(3).mT)
    grad_keys = keys.grad_sum.flatten(3).flatten(0, 1)
    accumulate_product(grad_keys, weights.columns.mT, grad_row_sums)
    return grad_rows, grad_columns
