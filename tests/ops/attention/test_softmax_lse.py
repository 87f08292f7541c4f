import torch
from torch.testing import assert_close

from quatrain.ops.attention.softmax_lse import softmax_and_lse


def test_totals_of_two_parts_make_the_softmax_of_the_whole():
    scores = 100 * torch.randn(2, 8, dtype=torch.float64)
    weights, totals = softmax_and_lse(scores.unflatten(1, (2, 4)))
    whole = (weights * totals.softmax(-1)[..., None]).flatten(1)
    assert_close(whole, scores.softmax(-1))


def test_an_empty_row_has_no_weight_no_total_and_no_gradient():
    scores = torch.randn(2, 3, requires_grad=True)
    weights, totals = softmax_and_lse(scores, torch.tensor([[True] * 3, [False] * 3]))
    assert not weights[1].any()
    assert totals[1] == -torch.inf
    weights.sum().backward()
    assert scores.grad is not None
    assert not scores.grad[1].any()
