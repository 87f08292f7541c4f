import pytest
import torch

from quatrain.training import Evaluation, Loss, Progress


def test_a_loss_is_a_pair_of_total_and_weight():
    total, weight = Loss(torch.tensor(6.0), torch.tensor(3.0))
    assert float(total / weight) == 2.0


def test_the_defaults_of_an_evaluation_are_not_shared():
    first, second = Evaluation({"score": 1.0}), Evaluation({"score": 2.0})
    assert (first.signatures, first.artifacts) == ({}, ())
    assert first.signatures is not second.signatures


def test_progress_is_frozen():
    progress = Progress(step=1, steps=2, loss=None, rate=0.0, rate_unit="s", seconds_left=None)
    with pytest.raises(AttributeError):
        progress.step = 2
