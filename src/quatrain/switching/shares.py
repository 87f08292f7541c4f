r"""The share of each term in the logits and weights of every attention, by head.

    shares = term_shares(model, tokens)
    shares["encoder.0.self_attention.mixer"].variance[Term.KEY]      # (h,)

A softmax depends on differences between keys alone, so logits are centred over the keys of each
query first: $c_t(q,k) = E_t(q,k) - \mathrm{mean}_{k'} E_t(q,k')$ and $l = \sum_t c_t$, over the
$n_q$ keys in the support of q. Means over q are over all queries of a call with such keys.

- variance of a term: $\mathrm{mean}_q \frac{1}{n_q} \sum_k c_t l$ divided by
  $\mathrm{mean}_q \frac{1}{n_q} \sum_k l^2$. These shares add up to 1. That of a term which
  counteracts the others is negative.
- mass of a term: $\mathrm{mean}_q \frac12 \sum_k |A(q,k) - A_{-t}(q,k)|$, where A is the softmax of
  l and $A_{-t}$ that of $l - c_t$: the part of the attention, from 0 to 1, which moves to other
  keys when the term alone is switched off. These numbers do not add up to 1. With a null key, A are
  softmaxes of logits that are not centred, over the keys and it.

Shapes: b batch, h heads, q queries of a block, k keys.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Float64
from torch import Tensor, nn
from torch.nn.functional import pad

from quatrain.nn import GeneralizedAttention
from quatrain.nn.modes import unfused_evaluation
from quatrain.ops.attention.query_range import query_blocks
from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.terms import AttentionInputs, logits
from quatrain.specs import InputError, Term
from quatrain.switching.switch import attentions_in

LARGEST_BLOCK = 2**21
"""Logits of a term that are in memory at one time, over batch and heads: 8 MiB in float32."""


@dataclass(frozen=True)
class TermShares:
    """The shares of the terms of one attention, by head, over all queries of all calls.

    Args:
        variance: the share of each term in the variance of the logits; NaN for constant logits.
        mass: the part of the attention that moves when the term is switched off.
        logit_variance: the variance of the logits over the keys of a query, mean over queries.
        queries: the number of queries, over batch and calls.
    """

    variance: dict[Term, Float64[Tensor, " h"]]
    mass: dict[Term, Float64[Tensor, " h"]]
    logit_variance: Float64[Tensor, " h"]
    queries: int


class _Sums:
    """Sums over queries of one attention, by head."""

    def __init__(self) -> None:
        self.covariance: dict[Term, Tensor] = {}
        self.moved: dict[Term, Tensor] = {}
        self.queries: Tensor = torch.zeros((), dtype=torch.float64)

    def add(
        self,
        by_term: dict[Term, Float[Tensor, "b h q k"]],
        mask: Bool[Tensor, "b h q k"],
        counted: Bool[Tensor, "b q"],
        *,
        null_key: bool,
    ) -> None:
        """Add the queries of a block that are counted and have keys."""
        keys = mask.sum(-1, keepdim=True)
        rows = (counted[:, None] & (keys[..., 0] > 0)).double()
        self.queries = self.queries + rows.sum((0, 2)).cpu()
        if not by_term:
            return
        centred = {term: _centred(each, mask, keys) for term, each in by_term.items()}
        total = torch.stack([*centred.values()]).sum(0)
        softmaxed, scores = centred, total
        if null_key:
            mask = pad(mask, (0, 1), value=True)
            softmaxed = {term: pad(each, (0, 1)) for term, each in by_term.items()}
            scores = torch.stack([*softmaxed.values()]).sum(0)
        weights = masked_softmax(scores, mask)
        for term, each in centred.items():
            covariance = (each * total).sum(-1).double() / keys[..., 0].clamp(min=1)
            without = masked_softmax(scores - softmaxed[term], mask)
            moved = (weights - without).abs().sum(-1).double() / 2
            for sums, value in ((self.covariance, covariance), (self.moved, moved)):
                sums[term] = sums.get(term, 0.0) + (value * rows).sum((0, 2)).cpu()

    def shares(self, terms: Term, heads: int) -> TermShares:
        """The shares of all queries."""
        zeros = torch.zeros(heads, dtype=torch.float64)
        count = self.queries.clamp(min=1)
        means = {term: self.covariance.get(term, zeros) / count for term in terms}
        total = sum(means.values(), zeros)
        return TermShares(
            variance={term: mean / total for term, mean in means.items()},
            mass={term: self.moved.get(term, zeros) / count for term in terms},
            logit_variance=total,
            queries=int(self.queries.max()),
        )


def term_shares(
    model: nn.Module, *inputs: Any, at: str | None = None, **named: Any
) -> dict[str, TermShares]:
    """The shares of terms in every attention during `model(*inputs, **named)`, by module name.

    The formulas are in the docstring of `quatrain.switching.shares`. Logits are computed for blocks
    of queries, so the memory does not grow with the square of the sequence or the map. The model is
    in evaluation mode, without gradients. Of self-attention with a padding mask, padded queries are
    left out. Switched-off terms have no share.

    Args:
        model: any model with attention.
        inputs: the arguments of its call: an example batch of real data.
        at: a glob of module names, as in `switch`; None for all attention.
        named: further arguments of the call.

    Source: our own.

    Raises:
        InputError: if there is no attention, or the model calls none of it.
    """
    attentions = attentions_in(model, at)
    sums = {name: _Sums() for name in attentions}
    handles = [
        module.register_forward_hook(_adding_to(sums[name]), with_kwargs=True)
        for name, module in attentions.items()
    ]
    try:
        with unfused_evaluation(model), torch.no_grad():
            model(*inputs, **named)
    finally:
        for handle in handles:
            handle.remove()
    if not any(found.queries.any() for found in sums.values()):
        names = ", ".join(attentions)
        raise InputError(f"the model called none of {names}; use another example", "inputs")
    return {
        name: sums[name].shares(module.terms, module.spec.heads)
        for name, module in attentions.items()
    }


def _adding_to(sums: _Sums) -> Any:
    def hook(
        module: GeneralizedAttention, args: tuple[Any, ...], named: dict[str, Any], _: Tensor
    ) -> None:
        call = dict(zip(("query", "key"), args, strict=False)) | named
        call.pop("method", None)
        inputs = module.attention_inputs(**call).upcast()
        is_self = call.get("key") is None or call["key"] is call["query"]
        counted = _counted_queries(inputs, is_self=is_self)
        for queries, block in query_blocks(inputs, LARGEST_BLOCK):
            shape = (*inputs.value.shape[:2], queries.stop - queries.start, inputs.value.shape[2])
            mask = block.support.mask(block.grid, block.value)
            if mask is None:
                mask = torch.ones((), dtype=torch.bool, device=block.value.device)
            by_term = {
                term: logits(term, block.operands, block.grid).expand(shape) for term in block.terms
            }
            sums.add(
                by_term, mask.expand(shape), counted[:, queries], null_key=block.support.null_key
            )

    return hook


def _counted_queries(inputs: AttentionInputs, *, is_self: bool) -> Bool[Tensor, "b q"]:
    """True at queries that are no padding, as far as the mask of the keys says."""
    grid, batch = inputs.grid, inputs.value.shape[0]
    queries = torch.Size(grid.queries).numel()
    padding = inputs.support.padding(grid, batch)
    if padding is None or not is_self or grid.key_stride > 1:
        return torch.ones(batch, queries, dtype=torch.bool, device=inputs.value.device)
    return ~padding.expand(batch, queries)


def _centred(
    x: Float[Tensor, "b h q k"], mask: Bool[Tensor, "b h q k"], keys: Tensor
) -> Float[Tensor, "b h q k"]:
    """Differences from the mean over the keys of each query; 0 at other keys."""
    mean = torch.where(mask, x, 0.0).sum(-1, keepdim=True) / keys.clamp(min=1)
    return torch.where(mask, x - mean, 0.0)
