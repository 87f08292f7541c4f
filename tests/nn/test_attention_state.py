import pytest
import torch
from torch.testing import assert_close

from quatrain.nn.attention_state import Explanation, KeyValueState, RunningState
from quatrain.specs import Term


def test_the_chosen_rows_come_in_the_order_they_are_asked_for():
    value, key = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5)
    chosen = KeyValueState(value, key).select(torch.tensor([2, 0, 2]))
    assert_close(chosen.value, value[[2, 0, 2]])
    assert_close(chosen.key, key[[2, 0, 2]])


def test_a_state_without_keys_has_none_after_choosing():
    assert KeyValueState(torch.randn(3, 2, 4, 5)).select(torch.tensor([1])).key is None


def test_an_explanation_holds_one_tensor_for_each_term():
    pairs = torch.ones(1, 1, 2, 3)
    assert list(Explanation(pairs / 3, {Term.KEY: pairs}).logits) == [Term.KEY]


def test_a_window_keeps_the_last_tokens_of_keys_and_values():
    value, key = torch.randn(1, 2, 6, 5), torch.randn(1, 2, 6, 5)
    state = KeyValueState(value[:, :, :4], key[:, :, :4])
    fresh = KeyValueState(value[:, :, 4:], key[:, :, 4:])
    assert_close(state.extended(fresh, None).value, value)
    assert_close(state.extended(fresh, 3).value, value[:, :, 3:])
    assert_close(state.extended(fresh, 3).key, key[:, :, 3:])
    assert KeyValueState(value).extended(KeyValueState(value), 3).key is None


@pytest.mark.parametrize("spread", [1.0, 200.0])
def test_running_sums_are_the_softmax_over_the_past_however_far_the_logits_lie_apart(spread):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 9, dtype=torch.float64, generator=generator) * spread
    values = torch.randn(1, 2, 9, 3, dtype=torch.float64, generator=generator)
    state = RunningState.empty(values[:, :, 0])
    for t in range(9):
        state = state.extended(logits[..., t : t + 1], values[:, :, t])
        weights = logits[..., : t + 1].softmax(-1)
        assert_close(state.mean, (weights[..., None] * values[:, :, : t + 1]).sum(2))
