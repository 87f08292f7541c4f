from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.blockwise import softmax as softmaxed
from quatrain.ops.attention.blockwise.inputs import Factors
from quatrain.ops.attention.blockwise.query_block import blocks
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

MAP = Grid((3, 4), (3, 4))
CALLS = {
    "all keys of a map": (MAP, Structure()),
    "a window": (MAP, Structure(window=3)),
    "a causal sequence": (Grid((70,), (70,)), Structure(causal=True)),
}


def factors(grid, width=2):
    torch.manual_seed(0)
    queries = keys = 12 if grid.ndim == 2 else 70

    def leaf(*shape):
        return torch.randn(*shape, dtype=torch.float64)

    return Factors(
        value=leaf(1, 2, keys, 3),
        asks=leaf(1, 2, queries, width),
        key=leaf(1, 2, keys, width),
        key_logits=leaf(1, 2, keys),
        position_query=None,
        attend_mask=None,
        relative=(),
    )


def formula(made, block):
    """Weights of a block without tables, and what they mix, as they are written."""
    logits = made.asks[:, :, block.queries] @ made.key.mT + made.key_logits[:, :, None]
    value = block.reached(made.value, 2).flatten(2, -2)
    weights = block.reached(logits, 3).flatten(3).softmax(-1)
    return weights, weights @ value


@pytest.mark.parametrize(("grid", "structure"), CALLS.values(), ids=CALLS.keys())
def test_a_block_mixes_the_values_that_it_reaches_by_the_formula(grid, structure):
    made = factors(grid)
    turned = softmaxed.Turned(made)
    for block in blocks(grid, structure):
        weights, mixed = formula(made, block)
        found = softmaxed.weights(turned, block, [], Structure())
        assert_close(found, weights)
        assert_close(softmaxed.mix(found, turned, block), mixed)


@pytest.mark.parametrize(("grid", "structure"), CALLS.values(), ids=CALLS.keys())
def test_gradients_are_added_to_the_keys_that_a_block_reaches(grid, structure):
    made = factors(grid)
    leaves = [made.value, made.asks, made.key, made.key_logits]
    turned, found, total = softmaxed.Turned(made), made.zeros(), 0.0
    for leaf in leaves:
        leaf.requires_grad_()
    for block in blocks(grid, structure):
        _, mixed = formula(made, block)
        total = total + mixed.square().sum()
        with torch.no_grad():
            weights = softmaxed.weights(turned, block, [], Structure())
            softmaxed.gradients(weights, turned, found, block, mixed, 2 * mixed)
    expected = torch.autograd.grad(total, leaves)
    assert_close([found.value, found.asks, found.key, found.key_logits], list(expected))


def test_tables_are_laid_out_and_their_gradients_are_sums():
    made, block = factors(MAP), next(iter(blocks(MAP, Structure())))
    made = replace(made, position_query=torch.zeros(1, 2, 12, 2, dtype=torch.float64))
    rows, columns = (
        torch.randn(1, 2, 4, size, dtype=torch.float64, requires_grad=True) for size in (3, 4)
    )
    logits = made.asks[:, :, :4] @ made.key.mT + made.key_logits[:, :, None]
    by_place = logits.unflatten(3, (3, 4)) + rows[..., :, None] + columns[..., None, :]
    expected = by_place.flatten(3).softmax(-1)
    mixed = expected @ made.value
    slopes = torch.autograd.grad(mixed.square().sum(), (rows, columns))
    with torch.no_grad():
        turned = softmaxed.Turned(made)
        weights = softmaxed.weights(turned, block, [rows, columns], Structure())
        assert_close(weights, expected)
        found = softmaxed.gradients(weights, turned, made.zeros(), block, mixed, 2 * mixed)
    assert_close(found, slopes)


def test_a_query_without_keys_has_no_weights():
    made = factors(MAP)
    made.key_logits.fill_(softmaxed.excluded(torch.float64))
    block = next(iter(blocks(MAP, Structure())))
    assert not softmaxed.weights(
        softmaxed.Turned(made), block, [], Structure(has_key_padding=True)
    ).any()


def test_the_weights_of_the_next_block_replace_those_of_the_last():
    made = factors(MAP)
    turned = softmaxed.Turned(made)
    found = [
        softmaxed.weights(turned, block, [], Structure()) for block in blocks(MAP, Structure())
    ]
    assert len({weights.data_ptr() for weights in found}) == 1 < len(found)
