"""Switch terms of attention in any model off and on, without a change of its weights.

    with switch(model, "0110"):              # E2 and E3, where a module has them
        evaluate(model)
    switch(model, "0010", at="decoder")      # as a call, until it is switched again
    switch(model, "1111")                    # all terms that were built

A switched module computes what a module does that was built with fewer terms and has the same
weights: with the same algorithm, and equal to the bit. Weights that no term needs stay in the
model and get no gradient.
"""

from types import TracebackType
from typing import Self

from torch import nn

from quatrain.nn import GeneralizedAttention
from quatrain.nn.find import find_class
from quatrain.specs import InputError, Term


class TermSwitch:
    """Terms that were switched by `switch`; as a context manager it restores the former ones.

    Example:
        >>> with switch(model, "0110") as switched:
        ...     print(switched.terms["encoder.0.self_attention.mixer"])
        0110
    """

    def __init__(self, attentions: dict[str, GeneralizedAttention], terms: Term) -> None:
        self._before = [(module, module.terms) for module in attentions.values()]
        for module in attentions.values():
            module.terms = terms
        self.terms: dict[str, Term] = {name: part.terms for name, part in attentions.items()}
        """The terms that are on, by the name of the module."""

    def restore(self) -> None:
        """Switch on what was on before."""
        for module, terms in self._before:
            module.terms = terms

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.restore()


def switch(model: nn.Module, terms: Term | str, *, at: str | None = None) -> TermSwitch:
    """Compute every attention of `model` with `terms`, among those that it was built with.

    A module built with other terms computes with the intersection: "0110" leaves E3 of a module
    with 0010 on, and uniform attention, 0000, of one with 1000. Blocks can be nested; each set is
    again one of the terms that were built, whatever is on at the time. The switch belongs to the
    modules: all threads share it, a deep copy keeps it, and state dicts do not have it. A compiled
    model recompiles for each set; torch allows eight versions by default
    (`torch._dynamo.config.recompile_limit`). A state of step-by-step decoding is of the terms that
    it was made with. Layers that are computed again in the backward pass (activation checkpointing)
    use the terms that are on then: call `backward` within the block.

    Args:
        model: any module that contains `GeneralizedAttention`.
        terms: a term set, as a `Term` or four digits.
        at: a glob of module names, as in `quatrain.find`: only these modules and those in them.

    Returns:
        A context manager that restores the former terms; without `with`, the switch stays.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 8 (the beta of each term).

    Raises:
        SpecError: if `terms` is not four digits of 0 and 1.
        InputError: if there is no such module, or no attention in it.
    """
    chosen = Term.parse(terms) if isinstance(terms, str) else terms
    return TermSwitch(attentions_in(model, at), chosen)


def attentions_in(model: nn.Module, at: str | None = None) -> dict[str, GeneralizedAttention]:
    """The attention modules of a model by name; with `at`, those that match or are within a match.

    Raises:
        InputError: if there is none.
    """
    if not find_class(model, GeneralizedAttention):
        remedy = "insert one, or use the model before it is scripted or exported"
        raise InputError(
            f"{type(model).__name__} contains no GeneralizedAttention; {remedy}", "model"
        )
    return find_class(model, GeneralizedAttention, at, noun="attention")
