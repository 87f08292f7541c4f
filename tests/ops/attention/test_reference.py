import itertools
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import METHOD_TERMS, Case, assert_same_attention, cases, operands
from ops import loops
from quatrain.ops.attention.reference import (
    attention_weights,
    masked_softmax,
    reference_attention,
    softmax_and_lse,
)
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import logits
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
some_term_sets = pytest.mark.parametrize("terms", METHOD_TERMS, ids=str)
GRIDS = {
    "a sequence": Grid((4,), (4,)),
    "a source of another length": Grid((3,), (5,)),
    "a longer target": Grid((5,), (2,)),
    "strided keys": Grid((5,), (3,), key_stride=2),
    "one late query": Grid((1,), (4,), first_query=3),
    "a single position": Grid((1,), (1,)),
    "a wide map": Grid((2, 4), (2, 4)),
    "a tall map": Grid((4, 2), (4, 2)),
    "a square map": Grid((3, 3), (3, 3)),
    "a map of one row": Grid((1, 4), (1, 4)),
    "a map of one column": Grid((4, 1), (4, 1)),
    "a map of one pixel": Grid((1, 1), (1, 1)),
    "another map": Grid((2, 3), (3, 1)),
    "strided maps": Grid((3, 4), (2, 2), key_stride=2),
}


def check(terms, grid, support=None, spread=1.0):
    case = Case(terms, operands(terms, grid, spread=spread), grid, support or Support())
    assert_same_attention(reference_attention, loops.attend, case)


@every_term_set
@pytest.mark.parametrize("grid", GRIDS.values(), ids=GRIDS.keys())
def test_it_agrees_with_the_papers_formula(terms, grid):
    check(terms, grid)


@pytest.mark.parametrize("terms", ["0100", "0110", "1100", "1110"])
@pytest.mark.parametrize("sizes", [(3, 3), (2, 3), (3, 2)], ids=["square", "wide", "tall"])
def test_query_position_without_position_distinguishes_rows_and_columns(terms, sizes):
    """A published implementation computes these four sets from the transposed query.

    On other maps it fails, but on square ones only the values show it.
    """
    check(Term.parse(terms), Grid(sizes, sizes))


@some_term_sets
@pytest.mark.parametrize("window", [1, 3, 99])
@pytest.mark.parametrize("sizes", [(4,), (2, 3)], ids=["sequence", "map"])
def test_a_window_is_centred_on_the_query(terms, window, sizes):
    check(terms, Grid(sizes, sizes), Support(window=window))


@some_term_sets
@pytest.mark.parametrize("window", [None, 1, 3])
def test_causal_attention_agrees_with_the_formula(terms, window):
    check(terms, Grid((4,), (4,)), Support(causal=True, window=window))


@settings(max_examples=60)
@given(cases())
def test_it_agrees_with_the_papers_formula_for_random_arguments(case):
    assert_same_attention(reference_attention, loops.attend, case)


@some_term_sets
def test_widely_spread_logits_do_not_overflow(terms):
    check(terms, Grid((3,), (4,)), spread=40.0)


@some_term_sets
@pytest.mark.parametrize("mask", ["key_padding_mask", "attend_mask"])
def test_rows_without_any_key_are_zero_with_finite_gradients(terms, mask):
    grid = Grid((2, 2), (2, 2))
    support = {
        "key_padding_mask": Support(key_padding_mask=torch.tensor([[True] * 4, [False] * 4])),
        "attend_mask": Support(attend_mask=torch.eye(4, dtype=torch.bool) & (torch.arange(4) > 0)),
    }[mask]
    case = Case(terms, operands(terms, grid), grid, support)
    output = reference_attention(case)
    empty = output[0] if mask == "key_padding_mask" else output[:, :, 0]
    assert_close(empty, torch.zeros_like(empty))
    assert output[1, :, 1].abs().min() > 0
    gradients = torch.autograd.grad(
        output.sum(), case.leaves, allow_unused=True, materialize_grads=True
    )
    assert all(gradient.isfinite().all() for gradient in gradients)


@every_term_set
def test_the_weights_of_a_query_sum_to_one_over_its_support(terms):
    grid, support = Grid((4,), (4,)), Support(causal=True)
    weights = attention_weights(Case(terms, operands(terms, grid), grid, support))
    assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert weights.expand(2, 2, 4, 4).triu(1).abs().max() == 0


@every_term_set
def test_with_a_null_key_the_weights_are_a_part_of_those_without(terms):
    grid, support = Grid((4,), (4,)), Support(causal=True)
    case = Case(terms, operands(terms, grid), grid, support)
    weights, scores = attention_weights(case), logits(terms, case.operands, grid)
    _, lse = softmax_and_lse(scores.expand(-1, 2, 4, 4), support.mask(grid, case.value))
    part = attention_weights(replace(case, support=replace(support, null_key=True)))
    assert_close(part, weights * lse.sigmoid()[..., None])


def test_without_terms_the_output_is_the_mean_over_the_support():
    grid = Grid((3,), (3,))
    x = operands(Term(0), grid)
    output = reference_attention(Case(Term(0), x, grid, Support(causal=True)))
    means = x.value.cumsum(2) / torch.arange(1, 4)[:, None]
    assert_close(output, means)


def test_it_is_equivariant_to_rotating_a_map_by_half_a_turn():
    grid, terms = Grid((2, 3), (2, 3)), Term.parse("1111")
    x = operands(terms, grid)
    flipped = {name: getattr(x, name).flip(2) for name in ("value", "query", "key")} | {
        "relative": tuple(axis.flip(1) for axis in x.relative)
    }
    mirrored = type(x)(**{**vars(x), **flipped})
    straight = reference_attention(Case(terms, x, grid, Support()))
    assert_close(reference_attention(Case(terms, mirrored, grid, Support())).flip(2), straight)


def test_the_masked_softmax_is_the_softmax_of_unmasked_logits():
    scores = torch.randn(1, 1, 1, 5, dtype=torch.float64)
    for bits in itertools.product([False, True], repeat=5):
        mask = torch.tensor(bits)
        weights = masked_softmax(scores, mask[None, None, None])[0, 0, 0]
        assert_close(weights[mask], scores[0, 0, 0, mask].softmax(-1))
        assert not weights[~mask].any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_operands_may_differ_in_type_and_the_output_has_the_type_of_the_values(dtype):
    grid = Grid((4,), (4,))
    x = operands(Term.parse("1111"), grid)
    output = reference_attention(
        Case(Term.parse("1111"), replace(x, value=x.value.to(dtype)), grid, Support())
    )
    assert output.dtype == dtype
    exact = reference_attention(Case(Term.parse("1111"), x, grid, Support()))
    assert (output - exact).abs().max() < 4 * torch.finfo(dtype).eps


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
