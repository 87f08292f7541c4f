from types import SimpleNamespace

import torch
from torch import nn

from quatrain.nn import AttentionSpec
from quatrain.study.term_sets import evaluate_shared_weights
from quatrain.training import Evaluation, Recipe


class FakeTask:
    """A task whose metric is the number of terms that are on in each of two modules."""

    def __init__(self, **recipe):
        self.recipe = Recipe(**recipe)

    def evaluate(self, objective, folder):
        (folder / "hypotheses.txt").write_text("")
        return Evaluation(
            {f"terms {n}": float(len(part.terms)) for n, part in enumerate(objective)}
        )


def objective():
    torch.manual_seed(0)
    return nn.Sequential(*(AttentionSpec(terms="0110", heads=2).build(8, ndim=1) for _ in range(2)))


def test_each_set_is_evaluated_at_the_modules_of_the_recipe():
    metrics = evaluate_shared_weights(FakeTask(terms="sampled", terms_at="1"), objective())
    assert metrics == {
        "0000": {"terms 0": 2.0, "terms 1": 0.0},
        "0010": {"terms 0": 2.0, "terms 1": 1.0},
        "0100": {"terms 0": 2.0, "terms 1": 1.0},
        "0110": {"terms 0": 2.0, "terms 1": 2.0},
    }


def test_a_training_with_fixed_terms_or_without_a_recipe_has_no_such_metrics():
    assert evaluate_shared_weights(FakeTask(), objective()) is None
    assert evaluate_shared_weights(SimpleNamespace(), objective()) is None
