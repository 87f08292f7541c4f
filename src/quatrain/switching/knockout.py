"""Evaluate a trained model with terms switched off: everywhere, and in one module at a time.

    for result in knockout(model, evaluate):
        print(result.at or "everywhere", result.terms, result.metrics)

A knock-out says which terms the trained weights depend on. A model that is trained without a term
can compensate for it, so its metric is usually higher.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from quatrain.nn.modes import evaluation_mode
from quatrain.specs import ALL_TERM_SETS, InputError, Term
from quatrain.specs.errors import shorten
from quatrain.switching.switch import attentions_in, switch

Evaluate = Callable[[nn.Module], Mapping[str, float]]
"""A function from a model to metrics by name, such as {"accuracy": 0.93}."""


@dataclass(frozen=True)
class TermResult:
    """The metrics of a model with some terms on.

    Args:
        at: the name of the switched module; None if all were switched.
        terms: the terms that are on there.
    """

    at: str | None
    terms: Term
    metrics: dict[str, float]


def knockout(
    model: nn.Module, evaluate: Evaluate, *, at: str | None = None, by_module: bool = True
) -> list[TermResult]:
    """The metrics of a trained model for each term set, and with terms off in a single module.

    The results of all modules come first, one for each set of the terms that any of them was built
    with, from "0000" on; that of the full set is the model as it is. Then, for each module: each
    of its terms off, and all of them. The model is in evaluation mode, without gradients, and
    unchanged at the end.

    Args:
        model: any model with attention.
        evaluate: computes the metrics, given the model.
        at: a glob of module names, as in `switch`: no other module is switched.
        by_module: whether to switch single modules, too.

    Source: our own; ablation of single attention heads after training as in Michel et al. 2019,
        https://arxiv.org/abs/1905.10650.

    Raises:
        InputError: if the model has no attention there, or `evaluate` returns no metrics.
    """
    results = evaluate_term_sets(model, evaluate, at=at)
    if not by_module:
        return results
    for name, module in attentions_in(model, at).items():
        for terms in _knocked_out(module.spec.terms):
            with switch(module, terms):
                results.append(TermResult(name, terms, evaluate_model(model, evaluate)))
    return results


def evaluate_term_sets(
    model: nn.Module, evaluate: Evaluate, *, at: str | None = None
) -> list[TermResult]:
    """The metrics of a model for each set of the terms that its attention was built with.

    Raises:
        InputError: as `knockout`.
    """
    built = Term(0)
    for module in attentions_in(model, at).values():
        built |= module.spec.terms
    results: list[TermResult] = []
    for terms in ALL_TERM_SETS:
        if terms & built == terms:
            with switch(model, terms, at=at):
                results.append(TermResult(None, terms, evaluate_model(model, evaluate)))
    return results


def evaluate_model(model: nn.Module, evaluate: Evaluate) -> dict[str, float]:
    """The metrics of the model as it is, in evaluation mode and without gradients.

    Raises:
        InputError: if they are not numbers by name.
    """
    with evaluation_mode(model), torch.no_grad():
        metrics = evaluate(model)
    if not isinstance(metrics, Mapping) or not metrics:
        message = f"evaluate returned {shorten(metrics)}, not metrics by name"
        raise InputError(f'{message}; return a dictionary such as {{"accuracy": 0.9}}', "evaluate")
    return {name: float(value) for name, value in metrics.items()}


def _knocked_out(built: Term) -> Iterator[Term]:
    """Each single term off, then all of them."""
    for term in built:
        yield built & ~term
    if len(built) > 1:
        yield Term(0)
