"""One training for all term sets, which share its weights; then each set is evaluated.

    results = one_shot(model, train, evaluate)          # train(model) is any training loop
    {str(result.terms): result.metrics["accuracy"] for result in results}

The order of the sets estimates that of models that are trained with one set each, at the cost of
one training: docs/one_shot.md says how well.
"""

from collections.abc import Callable

from torch import nn

from quatrain.switching.draws import sampled_terms
from quatrain.switching.knockout import Evaluate, TermResult, evaluate_term_sets


def one_shot(
    model: nn.Module,
    train: Callable[[nn.Module], object],
    evaluate: Evaluate,
    *,
    seed: int = 0,
    at: str | None = None,
) -> list[TermResult]:
    """Train a model whose term set is drawn anew for each step, then evaluate it with each set.

    Args:
        model: a model with attention of all terms to compare, such as "1111".
        train: trains the model in place; each forward pass of the model in training mode is a step.
        evaluate: computes the metrics, given the model.
        seed: of the drawn sets; see `draw_terms`.
        at: a glob of module names, as in `switch`: no other module is switched.

    Returns:
        One result for each set of the terms that the attention was built with.

    Source: Bender et al. 2018, https://proceedings.mlr.press/v80/bender18a.html (one-shot models).

    Raises:
        InputError: if the model has no attention there, or `evaluate` returns no metrics.
    """
    with sampled_terms(model, seed, at=at):
        train(model)
    return evaluate_term_sets(model, evaluate, at=at)
