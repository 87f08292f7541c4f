import contextlib
import itertools
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from laws import Case, grids, operands
from quatrain.ops import counts
from quatrain.ops.attention import ConcreteMethod, attend, plan
from quatrain.ops.attention.blockwise.loop import BlockLoop
from quatrain.ops.attention.blockwise.operator import blockwise_inputs
from quatrain.ops.attention.blockwise.query_block import MAX_QUERIES
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.specs import ALL_TERM_SETS, SpecError, Term

sizes = st.fixed_dictionaries(
    {
        "batch": st.integers(1, 5),
        "grid": grids(longest=20),
        "channels": st.integers(1, 16).map(lambda n: 4 * n),
        "structure": st.sampled_from(
            [Structure(), Structure(window=3), Structure(has_attn_mask=True)]
        ),
    }
)
term_sets = st.sampled_from(ALL_TERM_SETS)


def test_a_linear_layer_is_rows_times_inputs_times_outputs():
    assert counts.linear(50, 512, 2048) == 50 * 512 * 2048


def test_all_terms_on_a_sequence_by_hand():
    size = counts.AttentionSize(batch=2, grid=Grid((3,), (5,)), channels=4)
    by_hand = {
        "query and output": 2 * 2 * 3 * 16,
        "key and value": 2 * 2 * 5 * 16,
        "relative positions": 7 * 16,
        "content logits": 2 * 3 * 5 * 4,
        "position logits": 2 * 3 * 7 * 4,
        "weighted sum": 2 * 3 * 5 * 4,
    }
    counted = counts.attention(Term.parse("1111"), "reference", size)
    assert counted == sum(by_hand.values())


def test_0010_weights_the_values_once_for_all_queries():
    size = counts.AttentionSize(batch=1, grid=Grid((10,), (10,)), channels=8)
    assert counts.attend(Term.KEY, "reference", size) == 10 * 8 + 10 * 8


def test_a_mask_that_depends_on_the_query_makes_0010_weight_per_query():
    size = counts.AttentionSize(1, Grid((10,), (10,)), 8, structure=Structure(causal=True))
    assert counts.attend(Term.KEY, "reference", size) == 10 * 8 + 10 * 10 * 8


@given(term_sets, sizes)
def test_the_cost_without_encodings_is_proportional_to_the_batch(terms, size):
    def cost(batch):
        larger = counts.AttentionSize(**{**size, "batch": batch})
        return counts.attention(terms, "reference", larger)

    assert cost(3) - cost(2) == cost(2) - cost(1) > 0


@given(term_sets, term_sets, sizes)
def test_one_more_term_never_costs_less(terms, more, size):
    size = counts.AttentionSize(**size)
    alone = counts.attention(terms, "reference", size)
    assert counts.attention(terms | more, "reference", size) >= alone


@given(term_sets, sizes)
def test_fused_computes_every_pair(terms, size):
    size = counts.AttentionSize(**{**size, "structure": Structure()})
    pairs = size.batch * size.queries * size.keys * size.channels
    fused = counts.attend(terms, "fused", size)
    assert fused >= pairs
    if str(terms) in ("1000", "1010"):
        assert fused == counts.attend(terms, "reference", size) == 2 * pairs


def case_of(terms, grid, structure, table):
    """Operands whose values are as wide as their keys, as in the closed forms."""
    x = operands(terms, grid, table=table)
    value = torch.randn(2, 2, x.value.shape[2], 3, dtype=torch.float64, requires_grad=True)
    support = Support(causal=structure.causal, null_key=structure.null_key)
    return Case(terms, replace(x, value=value), grid, support)


def plans(grid, structure, table=None):
    joint = table == "joint"
    for terms, method in itertools.product(ALL_TERM_SETS, get_args(ConcreteMethod)):
        with contextlib.suppress(SpecError):
            yield terms, plan(terms, grid, structure, method, joint_table=joint)


def run_with_gradients(planned, case):
    grid, structure = case.grid, case.support.structure
    if planned.method == "factored" or planned.kernel == "blockwise":  # a custom operator
        inputs = blockwise_inputs(case)
        factored = planned.method == "factored"
        with torch.no_grad():
            loop = BlockLoop(inputs, grid, structure, factored)
            output = loop.forward()
            loop.backward(output, output)
        output = inputs.key_logits
    else:
        output = attend(case, planned.method)
    if output is not None and output.requires_grad:
        torch.autograd.grad(output.sum(), case.leaves, allow_unused=True)


@pytest.mark.parametrize(
    ("grid", "causal", "table"),
    [
        *((Grid((3, 70), (2, 35), 2), False, table) for table in (None, "axial", "joint")),
        *((Grid((70,), (70,)), True, table) for table in (None, "axial")),
    ],
)
@pytest.mark.parametrize("null_key", [False, True])
def test_executed_products_with_gradients_match_the_closed_form(grid, causal, table, null_key):
    structure = Structure(causal, null_key=null_key)
    for terms, planned in plans(grid, structure, table):
        if planned.kernel == "sdpa":
            continue  # torch's kernel is opaque
        with FlopCounterMode(display=False) as counter:
            run_with_gradients(planned, case_of(terms, grid, structure, table))
        size = counts.AttentionSize(2, grid, 6, structure=structure, heads=2, table=table)
        products = counts.attend(terms, planned.method, size)
        products += counts.attend_backward(terms, planned.method, size)
        assert counter.get_total_flops() == 2 * products, (str(terms), planned.method)


def test_only_the_reference_stores_a_weight_for_every_pair():
    grid = Grid((60, 70), (60, 70))
    size = counts.AttentionSize(1, grid, 64, heads=8)
    for terms, planned in plans(grid, Structure()):
        stored = counts.stored_weights(terms, planned.method, size)
        if planned.method != "reference":
            assert stored < 8 * (60 * 70) ** 2 / 30
        elif terms.use_query:
            assert stored == 8 * (60 * 70) ** 2


def test_without_gradients_on_a_cpu_separable_stores_the_weights_of_few_heads():
    size = counts.AttentionSize(1, Grid((64, 64), (64, 64)), 256, heads=8)
    arguments = Term.parse("0011"), "separable", size
    stored = counts.stored_weights(*arguments)
    assert stored == 2 * 64**3
    assert counts.stored_weights(*arguments, training=True) == 8 * stored
    assert counts.stored_weights(*arguments, device="cuda") == 8 * stored


def test_blocks_of_a_window_reach_only_its_band():
    size = counts.AttentionSize(1, Grid((1000,), (1000,)), 8, structure=Structure(window=5))
    totals = counts.block_totals(size.grid, size.structure)
    assert 1000 * 5 <= totals.pairs <= 1000 * (5 + MAX_QUERIES)


def test_the_running_softmax_is_linear_in_its_length():
    costs = [
        counts.attend(Term.KEY, "pooled", counts.AttentionSize(1, Grid((n,), (n,)), 8, None, order))
        for n in (2**12, 2**13)
        for order in [Structure(causal=True)]
    ]
    assert costs[1] < 2.01 * costs[0]


def test_separable_sums_one_axis_after_the_other():
    size = counts.AttentionSize(2, Grid((3, 4), (5, 6)), 8)
    summed = 5 * 4 * 6 + 3 * 4 * 5
    assert counts.attend(Term.parse("0000"), "separable", size) == 2 * summed * 8
