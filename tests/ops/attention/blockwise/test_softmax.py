from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.blockwise.inputs import BlockwiseInputs, mask_value
from quatrain.ops.attention.blockwise.query_block import query_blocks
from quatrain.ops.attention.blockwise.softmax import (
    TransposedInputs,
    softmax_backward,
    softmax_weights,
)
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

MAP = Grid((3, 4), (3, 4))
CALLS = {
    "all keys of a map": (MAP, Structure()),
    "a window": (MAP, Structure(window=3)),
    "a causal sequence": (Grid((70,), (70,)), Structure(causal=True)),
}


def random_inputs(grid, width=2):
    torch.manual_seed(0)
    queries = keys = 12 if grid.ndim == 2 else 70

    def random(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    return BlockwiseInputs(
        value=random(1, 2, keys, 3),
        query=random(1, 2, queries, width),
        key=random(1, 2, keys, width),
        key_logits=random(1, 2, keys),
        position_query=None,
        attend_mask=None,
        relative=(),
    )


def formula(inputs, block):
    """Weights of a block without position bias, and its output."""
    logits = inputs.query[:, :, block.queries] @ inputs.key.mT + inputs.key_logits[:, :, None]
    value = block.narrow(inputs.value, 2).flatten(2, -2)
    weights = block.narrow(logits, 3).flatten(3).softmax(-1)
    return weights, weights @ value


@pytest.mark.parametrize(("grid", "structure"), CALLS.values(), ids=CALLS.keys())
def test_weights_of_a_block_agree_with_the_formula(grid, structure):
    inputs = random_inputs(grid)
    transposed = TransposedInputs(inputs)
    for block in query_blocks(grid, structure):
        expected, _ = formula(inputs, block)
        weights = softmax_weights(transposed, block, [], Structure())
        assert_close(weights, expected)


@pytest.mark.parametrize(("grid", "structure"), CALLS.values(), ids=CALLS.keys())
def test_gradients_accumulate_over_blocks(grid, structure):
    inputs = random_inputs(grid)
    leaves = [inputs.value, inputs.query, inputs.key, inputs.key_logits]
    transposed, grads, total = TransposedInputs(inputs), inputs.zero_grads(), 0.0
    for leaf in leaves:
        leaf.requires_grad_()
    for block in query_blocks(grid, structure):
        _, output = formula(inputs, block)
        total = total + output.square().sum()
        with torch.no_grad():
            weights = softmax_weights(transposed, block, [], Structure())
            softmax_backward(weights, transposed, grads, block, output, 2 * output)
    expected = torch.autograd.grad(total, leaves)
    assert_close([grads.value, grads.query, grads.key, grads.key_logits], list(expected))


def test_position_bias_is_added_and_its_gradients_are_sums():
    inputs, block = random_inputs(MAP), next(iter(query_blocks(MAP, Structure())))
    inputs = replace(inputs, position_query=torch.zeros(1, 2, 12, 2, dtype=torch.float64))
    rows, columns = (
        torch.randn(1, 2, 4, size, dtype=torch.float64, requires_grad=True) for size in (3, 4)
    )
    logits = inputs.query[:, :, :4] @ inputs.key.mT + inputs.key_logits[:, :, None]
    on_map = logits.unflatten(3, (3, 4)) + rows[..., :, None] + columns[..., None, :]
    expected = on_map.flatten(3).softmax(-1)
    output = expected @ inputs.value
    expected_grads = torch.autograd.grad(output.square().sum(), (rows, columns))
    with torch.no_grad():
        transposed = TransposedInputs(inputs)
        weights = softmax_weights(transposed, block, [rows, columns], Structure())
        assert_close(weights, expected)
        grads = inputs.zero_grads()
        bias_grads = softmax_backward(weights, transposed, grads, block, output, 2 * output)
    assert_close(bias_grads, expected_grads)


def test_a_query_without_keys_has_no_weights():
    inputs = random_inputs(MAP)
    inputs.key_logits.fill_(mask_value(torch.float64))
    block, structure = next(iter(query_blocks(MAP, Structure()))), Structure(has_key_padding=True)
    assert not softmax_weights(TransposedInputs(inputs), block, [], structure).any()


def test_the_weights_of_the_next_block_overwrite_those_of_the_last():
    transposed = TransposedInputs(random_inputs(MAP))
    weights = [
        softmax_weights(transposed, block, [], Structure())
        for block in query_blocks(MAP, Structure())
    ]
    assert len({x.data_ptr() for x in weights}) == 1 < len(weights)
