import pytest
import torch
from hypothesis import given, settings
from torch.testing import assert_close

from laws import cases, operands
from ops import loops
from quatrain.ops.positions import Grid
from quatrain.ops.terms import biased_query, logits, position_query
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


@every_term_set
def test_queries_are_none_without_their_terms(terms):
    x = operands(Term.parse("1111"), Grid((3,), (3,)))
    assert (biased_query(terms, x) is None) == (not terms.use_content)
    assert (position_query(terms, x) is None) == (not terms.use_position)
