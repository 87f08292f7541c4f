"""Cross entropy of a linear layer's logits, without storing the logits of all tokens.

The logits of a block of tokens are computed, turned into their own gradient in place, and used for
the gradients of the inputs, before the next block begins: memory for one block instead of several
copies of tokens x vocabulary, and numbers stay in the cache. Second derivatives
(`create_graph=True`) store the logits of all tokens.

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
        needs_grad = ctx.needs_input_grad[0] or ctx.needs_input_grad[1]
        total = hidden.new_zeros((), dtype=torch.promote_types(hidden.dtype, torch.float32))
        grad_hidden = torch.empty_like(hidden) if needs_grad else None
        grad_weight = torch.zeros_like(weight) if needs_grad else None
        for start in range(0, hidden.shape[0], _BLOCK):
            rows = slice(start, start + _BLOCK)
            logits = (hidden[rows] @ weight.to(hidden.dtype).T).to(total.dtype)
            target_logits = logits.gather(-1, target[rows, None])
            mean_logits = logits.mean(-1, keepdim=True) if smoothing else 0.0
            highest = logits.amax(-1, keepdim=True)
            exponentials = logits.sub_(highest).exp_()
            sums = exponentials.sum(-1, keepdim=True)
            lse = sums.log() + highest
            total += (lse - (1 - smoothing) * target_logits - smoothing * mean_logits).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            grad_logits = exponentials.div_(sums)
            if smoothing:
                grad_logits.sub_(smoothing / weight.shape[0])
            update = target_logits.new_full(target_logits.shape, smoothing - 1)
            grad_logits.scatter_add_(-1, target[rows, None], update)
            grad_logits = grad_logits.to(hidden.dtype)
            torch.mm(grad_logits, weight.to(hidden.dtype), out=grad_hidden[rows])
            grad_weight.addmm_(grad_logits.to(weight.dtype).T, hidden[rows].to(weight.dtype))
        if needs_grad:
            ctx.save_for_backward(grad_hidden, grad_weight, hidden, weight, target)
            ctx.smoothing = smoothing
        return total

    @staticmethod
    def backward(ctx, grad_output):  # noqa: ANN001, ANN205 - autograd's signature
        grad_hidden, grad_weight, hidden, weight, target = ctx.saved_tensors
        if torch.is_grad_enabled():  # second derivatives, which the blocks do not have
            grads = _differentiable_grads(hidden, weight, target, ctx.smoothing, grad_output)
            return *grads, None, None
        # With float16, grad_output is the loss scale, which may exceed that type; the product fits.
        scaled = (grad_hidden.to(grad_output.dtype) * grad_output).to(grad_hidden.dtype)
        return scaled, grad_weight * grad_output, None, None


def _differentiable_grads(
    hidden: Float[Tensor, "n c"],
    weight: Float[Tensor, "v c"],
    target: Int[Tensor, " n"],
    smoothing: float,
    grad_output: Float[Tensor, ""],
) -> list[Tensor | None]:
    """Gradients of hidden and weight by the formula, with a graph of their own."""
    logits = (hidden @ weight.to(hidden.dtype).T).to(grad_output.dtype)
    total = cross_entropy(logits, target, label_smoothing=smoothing, reduction="sum")
    inputs = [x for x in (hidden, weight) if x.requires_grad]
    grads = iter(torch.autograd.grad(total, inputs, grad_output, create_graph=True))
    return [next(grads) if x.requires_grad else None for x in (hidden, weight)]


def linear_cross_entropy(
    hidden: Float[Tensor, "n c"],
    weight: Float[Tensor, "v c"],
    target: Int[Tensor, " n"],
    smoothing: float = 0.0,
) -> Float[Tensor, ""]:
    """Sum over tokens of the cross entropy of `hidden @ weight.T`, with label smoothing.

    Equal to `cross_entropy(hidden @ weight.T, target, label_smoothing=smoothing, reduction="sum")`.
    `hidden` and `weight` are kept until the backward pass (n x c numbers besides their gradients)
    and must not be changed in place before it: autograd raises if they are.

    Source: Szegedy et al. 2016, https://arxiv.org/abs/1512.00567, section 7 (smoothing);
        Wijmans et al. 2024, https://arxiv.org/abs/2411.09009 (by blocks).
    """
    if torch.is_autocast_enabled(hidden.device.type):
        hidden = hidden.to(torch.get_autocast_dtype(hidden.device.type))
        with torch.autocast(hidden.device.type, enabled=False):
            return _LinearCrossEntropy.apply(hidden, weight, target, smoothing)
    return _LinearCrossEntropy.apply(hidden, weight, target, smoothing)
