import torch
from torch.testing import assert_close

from quatrain.nn.attention_state import Explanation, KeyValueState
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
