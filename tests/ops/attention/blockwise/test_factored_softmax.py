import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from quatrain.ops.attention.blockwise import factored_softmax as contracted
from quatrain.ops.attention.blockwise.inputs import excluded


def laid_out(tables, value, logits):
    """The weights of all pairs, as the formula has them, and their mean of the values."""
    rows, columns = tables
    scores = rows[..., :, None] + columns[..., None, :]
    if logits is not None:
        scores = scores + logits[:, :, None]
    return scores.flatten(3).softmax(-1) @ value.flatten(2, 3)


def keys_of(value, logits):
    return contracted.Keys.of(value, logits)


sizes = st.tuples(*(st.integers(1, 4) for _ in range(6)))


@settings(max_examples=60, deadline=None)
@given(sizes, st.booleans(), st.sampled_from([1.0, 20.0]), st.integers(0, 2**16))
def test_sums_and_gradients_are_those_of_weights_laid_out(sizes, weighed, spread, seed):
    batch, heads, queries, rows, columns, width = sizes
    torch.manual_seed(seed)

    def leaf(*shape):
        return (torch.randn(*shape, dtype=torch.float64) * spread).requires_grad_()

    tables = [leaf(batch, heads, queries, count) for count in (rows, columns)]
    value = leaf(batch, heads, rows, columns, width)
    logits = leaf(1, heads, rows, columns) if weighed else None
    expected = laid_out(tables, value, logits)
    given = torch.randn_like(expected)
    leaves = [*tables, value, *([logits] if weighed else [])]
    slopes = torch.autograd.grad(expected, leaves, given)
    with torch.no_grad():
        keys, weights = keys_of(value, logits), contracted.Weights.of(tables)
        found = contracted.mix(weights, keys)
        assert found is not None
        assert_close(found.mixed, expected)
        to_tables = contracted.gradients(weights, keys, found.mixed, given)
        to_value, to_logits = keys.gradients()
    made = [*to_tables, to_value, *([to_logits.sum(0, keepdim=True)] if weighed else [])]
    assert_close(made, list(slopes), rtol=1e-9, atol=1e-9 * spread**2)


def test_blocks_add_to_what_keys_were_given():
    torch.manual_seed(0)
    value = torch.randn(1, 2, 3, 4, 2, dtype=torch.float64)
    tables = [torch.randn(1, 2, 5, size, dtype=torch.float64) for size in (3, 4)]
    keys, weights = keys_of(value, None), contracted.Weights.of(tables)
    mixed = contracted.mix(weights, keys).mixed
    contracted.gradients(weights, keys, mixed, torch.ones_like(mixed))
    once = [x.clone() for x in keys.gradients()]
    contracted.gradients(weights, keys, mixed, torch.ones_like(mixed))
    assert_close(list(keys.gradients()), [2 * x for x in once])


@pytest.mark.parametrize("far", [-800.0, -2000.0])
def test_nothing_is_told_where_a_product_may_have_underflowed(far):
    """Each factor prefers a key that another one gives no weight."""
    tables = [torch.zeros(1, 1, 1, 1, dtype=torch.float64), torch.tensor([[[[0.0, far]]]]).double()]
    value = torch.randn(1, 1, 1, 2, 1, dtype=torch.float64)
    logits = torch.tensor([[[[far, 0.0]]]], dtype=torch.float64)
    weights = contracted.Weights.of(tables)
    assert contracted.mix(weights, keys_of(value, None)) is not None
    assert contracted.mix(weights, keys_of(value, logits)) is None
    assert contracted.gradients(weights, keys_of(value, logits), value[0], value[0]) is None


@pytest.mark.parametrize("lost", ["keys", "columns"])
def test_nothing_is_told_where_no_key_is_left(lost):
    tables = [torch.zeros(1, 1, 2, size, dtype=torch.float64) for size in (1, 3)]
    logits = torch.zeros(1, 1, 1, 3, dtype=torch.float64)
    (logits if lost == "keys" else tables[1][:, :, :1]).fill_(excluded(torch.float64))
    value = torch.randn(1, 1, 1, 3, 1, dtype=torch.float64)
    assert contracted.mix(contracted.Weights.of(tables), keys_of(value, logits)) is None


def test_what_is_not_a_number_is_left_to_the_softmax():
    tables = [torch.zeros(1, 1, 2, size) for size in (2, 3)]
    tables[0][0, 0, 1, 0] = torch.nan
    keys = keys_of(torch.randn(1, 1, 2, 3, 1), None)
    assert contracted.mix(contracted.Weights.of(tables), keys) is None


def test_the_sums_by_row_of_the_next_block_replace_those_of_the_last():
    tables = [torch.zeros(1, 2, 5, size, dtype=torch.float64) for size in (3, 4)]
    keys = keys_of(torch.ones(1, 2, 3, 4, 2, dtype=torch.float64), None)
    first, second = (contracted.mix(contracted.Weights.of(tables), keys) for _ in range(2))
    assert first.by_row.data_ptr() == second.by_row.data_ptr()
