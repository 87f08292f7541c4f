import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.attention.blockwise.factored_softmax import (
    AxisWeights,
    WeightedValues,
    factored_backward,
    factored_sums,
)
from quatrain.ops.attention.blockwise.inputs import mask_value


def formula(biases, value, logits):
    """The output by the weights of all pairs."""
    rows, columns = biases
    scores = rows[..., :, None] + columns[..., None, :]
    if logits is not None:
        scores = scores + logits[:, :, None]
    return scores.flatten(3).softmax(-1) @ value.flatten(2, 3)


sizes = st.tuples(*(st.integers(1, 4) for _ in range(6)))


@settings(max_examples=60, deadline=None)
@given(sizes, st.booleans(), st.sampled_from([1.0, 20.0]), st.integers(0, 2**16))
def test_outputs_and_gradients_agree_with_the_formula(sizes, has_logits, spread, seed):
    batch, heads, queries, rows, columns, width = sizes
    torch.manual_seed(seed)

    def leaf(*shape):
        return (torch.randn(*shape, dtype=torch.float64) * spread).requires_grad_()

    biases = [leaf(batch, heads, queries, count) for count in (rows, columns)]
    value = leaf(batch, heads, rows, columns, width)
    logits = leaf(1, heads, rows, columns) if has_logits else None
    expected = formula(biases, value, logits)
    grad_output = torch.randn_like(expected)
    leaves = [*biases, value, *([logits] if has_logits else [])]
    expected_grads = torch.autograd.grad(expected, leaves, grad_output)
    with torch.no_grad():
        keys, weights = WeightedValues.of(value, logits), AxisWeights.of(biases)
        sums = factored_sums(weights, keys)
        assert sums is not None
        assert_close(sums.output, expected)
        bias_grads = factored_backward(weights, keys, sums.output, grad_output)
        grad_value, grad_logits = keys.gradients()
    grads = [*bias_grads, grad_value]
    if has_logits:
        grads.append(grad_logits.sum(0, keepdim=True))
    assert_close(grads, list(expected_grads), rtol=1e-9, atol=1e-9 * spread**2)


def test_gradients_of_keys_accumulate_over_blocks():
    torch.manual_seed(0)
    value = torch.randn(1, 2, 3, 4, 2, dtype=torch.float64)
    biases = [torch.randn(1, 2, 5, size, dtype=torch.float64) for size in (3, 4)]
    keys, weights = WeightedValues.of(value, None), AxisWeights.of(biases)
    output = factored_sums(weights, keys).output
    factored_backward(weights, keys, output, torch.ones_like(output))
    once = [x.clone() for x in keys.gradients()]
    factored_backward(weights, keys, output, torch.ones_like(output))
    assert_close(list(keys.gradients()), [2 * x for x in once])


@pytest.mark.parametrize("far", [-800.0, -2000.0])
def test_sums_that_may_have_underflowed_are_none(far):
    """Each factor prefers a key to which another one gives no weight."""
    biases = [torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.tensor([[[[0.0, far]]]]).double()]
    value = torch.randn(1, 1, 1, 2, 1, dtype=torch.float64)
    logits = torch.tensor([[[[far, 0.0]]]], dtype=torch.float64)
    weights, keys = AxisWeights.of(biases), WeightedValues.of(value, logits)
    assert factored_sums(weights, WeightedValues.of(value, None)) is not None
    assert factored_sums(weights, keys) is None
    assert factored_backward(weights, keys, value[0], value[0]) is None


@pytest.mark.parametrize("masked", ["keys", "columns"])
def test_sums_without_any_key_are_none(masked):
    biases = [torch.zeros(1, 1, 2, size, dtype=torch.float64) for size in (1, 3)]
    logits = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    (logits if masked == "keys" else biases[1][:, :, :1]).fill_(mask_value(torch.float64))
    value = torch.randn(1, 1, 1, 3, 1, dtype=torch.float64)
    assert factored_sums(AxisWeights.of(biases), WeightedValues.of(value, logits)) is None


def test_sums_of_nan_are_none():
    biases = [torch.zeros(1, 1, 2, size) for size in (2, 3)]
    biases[0][0, 0, 1, 0] = torch.nan
    keys = WeightedValues.of(torch.randn(1, 1, 2, 3, 1), None)
    assert factored_sums(AxisWeights.of(biases), keys) is None


def test_the_row_sums_of_the_next_block_overwrite_those_of_the_last():
    biases = [torch.zeros(1, 2, 5, size, dtype=torch.float64) for size in (3, 4)]
    keys = WeightedValues.of(torch.ones(1, 2, 3, 4, 2, dtype=torch.float64), None)
    first, second = (factored_sums(AxisWeights.of(biases), keys) for _ in range(2))
    assert first.row_sums.data_ptr() == second.row_sums.data_ptr()
