"""A softmax with its logsumexp, from which softmaxes over groups combine.

With lse_g = log sum_{k in g} exp(s_k), the weights over all keys are the weights within a group
times the softmax of lse over groups. Only differences to a maximum are exponentiated, so no spread
of the logits overflows or underflows.

Source: Milakov and Gimelshein 2018, https://arxiv.org/abs/1805.02867, section 3.

Shapes: k keys.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from quatrain.ops.attention.reference import masked_softmax


def softmax_and_lse(
    logits: Float[Tensor, "*logits k"], mask: Bool[Tensor, "*mask k"] | None = None
) -> tuple[Float[Tensor, "*broadcast k"], Float[Tensor, "*broadcast"]]:
    """The softmax over the keys where `mask` is True, and the logsumexp over the same keys.

    Rows without any such key have weights 0 and lse minus infinity, both with gradient 0.
    """
    if mask is None:
        return logits.softmax(-1), logits.logsumexp(-1)
    lowest = torch.finfo(logits.dtype).min
    lse = torch.where(mask, logits, lowest).logsumexp(-1)
    return masked_softmax(logits, mask), torch.where(mask.any(-1), lse, -torch.inf)
