"""Cross entropy of a linear layer's logits, without holding the logits of all tokens.

The logits of a block of tokens are computed, turned into their own gradient in place, and spent
on the gradients of the inputs, before the next block begins: memory for one block instead of
several copies of tokens x vocabulary, and each number is touched while it is still in the cache.
Gradients that are to be differentiated again (`create_graph=True`) hold the logits of all tokens.

Shapes: n tokens, c channels, v vocabulary.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import cross_entropy

_BLOCK = 256


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, target, smoothing):  # noqa: ANN001, ANN205
        wants = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        to_hidden = torch.empty_like(hidden) if wants else None
        to_weight = torch.zeros_like(weight) if wants else None
        for start in range(0, hidden.shape[0], _BLOCK):
            rows = slice(start, start + _BLOCK)
            logits = (hidden[rows] @ weight.to(hidden.dtype).T).to(total.dtype)
            picked = logits.gather(-1, target[rows, None])
            spread = logits.mean(-1, keepdim=True) if smoothing else 0.0
            highest = logits.amax(-1, keepdim=True)
            exponentials = logits.sub_(highest).exp_()
            sums = exponentials.sum(-1, keepdim=True)
            normalizer = sums.log() + highest
            total += (normalizer - (1 - smoothing) * picked - smoothing * spread).sum()
            if to_hidden is None or to_weight is None:
                continue
            gradient = exponentials.div_(sums)
            if smoothing:
                gradient.sub_(smoothing / weight.shape[0])
            ours = picked.new_full(picked.shape, smoothing - 1)
            gradient.scatter_add_(-1, target[rows, None], ours)
            gradient = gradient.to(hidden.dtype)
            torch.mm(gradient, weight.to(hidden.dtype), out=to_hidden[rows])
            to_weight.addmm_(gradient.to(weight.dtype).T, hidden[rows].to(weight.dtype))
        if wants:
            ctx.save_for_backward(to_hidden, to_weight, hidden, weight, target)
            ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx, gradient):  # noqa: ANN001, ANN205 - autograd's signature
        to_hidden, to_weight, hidden, weight, target = ctx.saved_tensors
        if torch.is_grad_enabled():  # the gradients are to be differentiated, which blocks are not
            found = _gradients_at_once(hidden, weight, target, ctx.smoothing, gradient)
            return *found, None, None
        # In float16 the gradient is the loss scale, which that type may not hold; the product fits.
        scaled = (to_hidden.to(gradient.dtype) * gradient).to(to_hidden.dtype)
        return scaled, to_weight * gradient, None, None


def _gradients_at_once(
    hidden: Float[Tensor, "n c"],
    weight: Float[Tensor, "v c"],
    target: Int[Tensor, " n"],
    smoothing: float,
    gradient: Float[Tensor, ""],
) -> list[Tensor | None]:
    """Those of hidden and weight, by the formula: they can be differentiated again."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(gradient.dtype)
    total = cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")
    wanted = [x for x in (hidden, weight) if x.requires_grad]
    found = iter(torch.autograd.grad(total, wanted, gradient, create_graph=True))
    return [next(found) if x.requires_grad else None for x in (hidden, weight)]


def linear_cross_entropy(
    hidden: Float[Tensor, "n c"],
    weight: Float[Tensor, "v c"],
    target: Int[Tensor, " n"],
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum over tokens of the cross entropy of `hidden @ weight.T`, with label smoothing.

    Equal to `cross_entropy(hidden @ weight.T, target, label_smoothing=smoothing, reduction="sum")`.
    `hidden` and `weight` are kept until the backward pass (n x c numbers beside their gradients)
    and must not be changed in place before it: autograd raises if they are.

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7 (smoothing);
        Wijmans et al. 2024, https://arxiv.org/abs/2411.09009 (by blocks).
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        with torch.autocast(hidden.device.type, enabled=False):
            return _LinearCrossEntropy.apply(hidden, weight, target, smoothing)
    return _LinearCrossEntropy.apply(hidden, weight, target, smoothing)
