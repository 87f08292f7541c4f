import pytest
import torch
from torch.testing import assert_close

from quatrain.cost import count_multiply_adds
from quatrain.nn import AttentionSpec
from quatrain.nn.attention_state import Explanation, KeyValueState, RunningState
from quatrain.ops.attention.reference import masked_softmax
from quatrain.ops.positions import Grid
from quatrain.specs import Term


def test_rows_are_selected_in_the_given_order():
    value, key = torch.randn(3, 2, 4, 5), torch.randn(3, 2, 4, 5)
    selected = KeyValueState(value, key).select(torch.tensor([2, 0, 2]))
    assert_close(selected.value, value[[2, 0, 2]])
    assert_close(selected.key, key[[2, 0, 2]])


def test_a_state_without_keys_has_none_after_selection():
    assert KeyValueState(torch.randn(3, 2, 4, 5)).select(torch.tensor([1])).key is None


def test_an_explanation_has_one_tensor_per_term():
    pairs = torch.ones(1, 1, 2, 3)
    assert list(Explanation(pairs / 3, {Term.KEY: pairs}, Grid((2,), (3,))).logits) == [Term.KEY]


def test_a_window_keeps_the_last_tokens_of_keys_and_values():
    value, key = torch.randn(1, 2, 6, 5), torch.randn(1, 2, 6, 5)
    state = KeyValueState(value[:, :, :4], key[:, :, :4])
    new = KeyValueState(value[:, :, 4:], key[:, :, 4:])
    assert_close(state.append(new, None).value, value)
    assert_close(state.append(new, 3).value, value[:, :, 3:])
    assert_close(state.append(new, 3).key, key[:, :, 3:])
    assert KeyValueState(value).append(KeyValueState(value), 3).key is None


@pytest.mark.parametrize("spread", [1.0, 200.0])
@pytest.mark.parametrize("null_key", [False, True])
def test_running_sums_equal_the_softmax_over_the_past_for_any_spread_of_logits(spread, null_key):
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(1, 2, 9, dtype=torch.float64, generator=generator) * spread
    values = torch.randn(1, 2, 9, 3, dtype=torch.float64, generator=generator)
    state = RunningState.empty(values[:, :, 0], Term.KEY, null_key=null_key)
    for t in range(9):
        state = state.append(logits[..., t : t + 1], values[:, :, t])
        weights = masked_softmax(logits[..., : t + 1], None, null_key=null_key)
        assert_close(state.mean, (weights[..., None] * values[:, :, : t + 1]).sum(2))


def test_running_sums_with_a_null_key_have_gradients_far_below_its_logit():
    logit = torch.full((1, 1, 1), -500.0, requires_grad=True)
    value = torch.ones(1, 1, 2, requires_grad=True)
    mean = RunningState.empty(value, Term.KEY, null_key=True).append(logit, value).mean
    gradients = torch.autograd.grad(mean.sum(), (logit, value))
    assert_close(mean, torch.zeros_like(mean))
    assert_close(gradients, (torch.zeros_like(logit), torch.zeros_like(value)))


class Step(torch.nn.Module):
    """One step of decoding as a module, whose products can be counted."""

    def __init__(self, attention):
        super().__init__()
        self.attention = attention

    def forward(self, token, state):
        return self.attention.step(token, state)


@torch.no_grad()
def cost_of_steps(positions, **fields):
    """The size of the state before each of these positions, and the multiply-adds of the step."""
    attention, state, costs = AttentionSpec(heads=2, **fields).build(8, ndim=1), None, []
    tokens = torch.randn(2, max(positions) + 1, 1, 8).unbind(1)
    for position, token in enumerate(tokens):
        if position in positions:
            sizes = [x.numel() for x in vars(state).values() if isinstance(x, torch.Tensor)]
            costs.append((sum(sizes), count_multiply_adds(Step(attention), token, state)))
        _, state = attention.step(token, state)
    return costs


@pytest.mark.parametrize(
    ("terms", "window"), [("0010", None), ("0000", None), ("0001", 5), ("0011", 5), ("1111", 5)]
)
def test_state_and_cost_of_a_step_are_constant_with_a_window_or_running_sums(terms, window):
    early, late = cost_of_steps((10, 60), terms=terms, window=window)
    assert early == late


def test_state_and_cost_of_a_step_grow_if_all_tokens_are_attended_to():
    (size, cost), (late_size, late_cost) = cost_of_steps((10, 60), terms="0011")
    assert late_size == 6 * size
    assert late_cost > 3 * cost
