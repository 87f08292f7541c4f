import pytest
import torch
from torch.testing import assert_close

from quatrain.cost import count_multiply_adds
from quatrain.nn import AttentionSpec
from quatrain.nn.attention_state import Explanation, KeyValueState, OffsetCache, RunningState
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
    assert_close(state.append(fresh, None).value, value)
    assert_close(state.append(fresh, 3).value, value[:, :, 3:])
    assert_close(state.append(fresh, 3).key, key[:, :, 3:])
    assert KeyValueState(value).append(KeyValueState(value), 3).key is None


@pytest.mark.parametrize("spread", [1.0, 200.0])
def test_running_sums_are_the_softmax_over_the_past_however_far_the_logits_lie_apart(spread):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 9, dtype=torch.float64, generator=generator) * spread
    values = torch.randn(1, 2, 9, 3, dtype=torch.float64, generator=generator)
    state = RunningState.empty(values[:, :, 0])
    for t in range(9):
        state = state.append(logits[..., t : t + 1], values[:, :, t])
        weights = logits[..., : t + 1].softmax(-1)
        assert_close(state.mean, (weights[..., None] * values[:, :, : t + 1]).sum(2))


class Step(torch.nn.Module):
    """One step of decoding as a module, whose products can be counted."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, token, state):
        return self.attention.step(token, state)


@torch.no_grad()
def spent(positions, **fields):
    """Numbers remembered before each of these positions, and multiply-adds of the step there."""
    attention, state, found = AttentionSpec(heads=2, **fields).build(8, ndim=1), None, []
    tokens = torch.randn(2, max(positions) + 1, 1, 8).unbind(1)
    for position, token in enumerate(tokens):
        if position in positions:
            held = [x.numel() for x in vars(state).values() if isinstance(x, torch.Tensor)]
            found.append((sum(held), count_multiply_adds(Step(attention), token, state)))
        _, state = attention.step(token, state)
    return found


@pytest.mark.parametrize(
    ("terms", "window"), [("0010", None), ("0000", None), ("0001", 5), ("0011", 5), ("1111", 5)]
)
def test_a_step_remembers_and_costs_as_much_far_on_as_early(terms, window):
    early, late = spent((10, 300), terms=terms, window=window)
    assert early == late


@torch.no_grad()
def test_offsets_are_encoded_seldom_and_never_more_than_twice_as_many_as_occur():
    asked = []

    def encode(offsets):
        asked.append(offsets)
        return torch.arange(offsets.start, offsets.stop).double()[:, None].expand(2, -1, 1)

    table = OffsetCache(encode)
    for position in range(300):
        offsets = range(-position, 4 - position)
        found = table.encodings(offsets)
        assert found[1, :, 0].tolist() == list(offsets)
    assert [each.start for each in asked] == [-32, -66, -134, -270, -542]
    assert all(each.stop == 4 for each in asked)


def test_with_gradients_offsets_are_encoded_anew():
    layer = torch.nn.Linear(1, 3)
    table = OffsetCache(lambda offsets: layer(torch.ones(len(offsets), 1))[None])
    with torch.no_grad():
        assert not table.encodings(range(-2, 1)).requires_grad
    table.encodings(range(-2, 1)).sum().backward()
    table.encodings(range(-2, 1)).sum().backward()
    assert layer.bias.grad.tolist() == [6.0] * 3


def test_a_step_that_looks_at_every_token_remembers_and_costs_more_far_on():
    (held, counted), (held_late, counted_late) = spent((10, 300), terms="0011")
    assert held_late == 30 * held
    assert counted_late > 10 * counted
