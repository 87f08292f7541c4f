import torch
from torch.testing import assert_close

from quatrain.ops.attention.softmax_lse import softmax_and_lse


def test_softmaxes_of_two_groups_combine_by_their_lse():
    logits = 100 * torch.randn(2, 8, dtype=torch.float64)
    weights, lse = softmax_and_lse(logits.unflatten(1, (2, 4)))
    whole = (weights * lse.softmax(-1)[..., None]).flatten(1)
    assert_close(whole, logits.softmax(-1))


def test_a_fully_masked_row_has_no_weights_and_no_gradient():
    logits = torch.randn(2, 3, requires_grad=True)
    weights, lse = softmax_and_lse(logits, torch.tensor([[True] * 3, [False] * 3]))
    assert not weights[1].any()
    assert lse[1] == -torch.inf
    weights.sum().backward()
    assert logits.grad is not None
    assert not logits.grad[1].any()
