import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import cases, operands
from ops import loops
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import AttentionInputs, biased_query, logits, position_query
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)


@settings(max_examples=30)
@given(cases())
def test_each_logit_is_the_sum_of_its_terms(case):
    terms = case.terms
    batch, heads, keys, _ = case.operands.value.shape
    queries = torch.Size(case.grid.queries).numel()
    computed = logits(terms, case.operands, case.grid).expand(batch, heads, queries, keys)
    for b, h, q, k in torch.cartesian_prod(*map(torch.arange, computed.shape)).tolist():
        expected = loops.logit(terms, case.operands, case.grid, b, h, q, k)
        assert_close(computed[b, h, q, k], expected)


@every_term_set
@pytest.mark.parametrize("table", [None, "axial", "joint"])
def test_the_terms_add_up(terms, table):
    grid = Grid((3, 2), (2, 4))
    x = operands(Term.parse("1111"), grid, table=table)
    alone = sum(logits(term, x, grid) for term in terms)
    total = logits(terms, x, grid)
    assert_close(total, torch.zeros_like(total) + alone)


@every_term_set
def test_logits_have_size_one_on_axes_that_they_do_not_depend_on(terms):
    grid = Grid((3,), (4,))
    batch, heads, queries, keys = logits(terms, operands(terms, grid), grid).shape
    assert (batch == 2) == (terms.use_query or terms.use_content)
    assert (heads == 2) == bool(terms)
    assert (queries == 3) == (terms.use_query or terms.use_position)
    assert (keys == 4) == bool(terms)


@pytest.mark.parametrize("shared_keys", [True, False])
def test_several_queries_of_one_coordinate_are_those_of_a_beam(shared_keys):
    terms = Term.parse("1010")

    def has_beam(sizes, queries):
        x = operands(terms, Grid((queries,), (4,)), shared_keys=shared_keys)
        return AttentionInputs(terms, x, Grid(sizes, (4,) * len(sizes)), Support()).has_beam

    assert has_beam((1,), 3)
    assert not has_beam((1,), 1)
    assert not has_beam((3,), 3)
    assert not has_beam((1, 1), 1)


@every_term_set
def test_queries_are_none_without_their_terms(terms):
    x = operands(Term.parse("1111"), Grid((3,), (3,)))
    assert (biased_query(terms, x) is None) == (not terms.use_content)
    assert (position_query(terms, x) is None) == (not terms.use_position)
