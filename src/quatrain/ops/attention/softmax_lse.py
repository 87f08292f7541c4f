"""A softmax that tells its normalizer, so that a softmax over groups can be made of two.

With totals T_g = log sum_{k in g} exp(s_k), the weights over all keys are the weights within a
group times the softmax of the totals over the groups. Nothing is ever exponentiated but a
difference to a maximum, so that no spread of the logits overflows or underflows.

Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, section 3.

Shapes: k keys.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.reference import masked_softmax


def softmax_and_lse(
    scores: Float[Tensor, "*given k"], mask: Bool[Tensor, "*kept k"] | None = None
) -> tuple[Float[Tensor, "*whole k"], Float[Tensor, "*whole"]]:
    """The softmax over the keys where `mask` is True, and the logarithm of its denominator.

    Where there is no such key, weights are 0 and the total is minus infinity, with gradient 0.
    """
    if mask is None:
        return scores.softmax(-1), scores.logsumexp(-1)
    lowest = torch.finfo(scores.dtype).min
    totals = torch.where(mask, scores, lowest).logsumexp(-1)
    return masked_softmax(scores, mask), torch.where(mask.any(-1), totals, -torch.inf)
