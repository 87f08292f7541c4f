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


@settings(max_examples=60)
@given(cases())
def test_each_logit_is_the_sum_of_its_terms(case):
    terms, asked = case
    batch, heads, keys, _ = asked.operands.value.shape
    queries = torch.Size(asked.grid.queries).numel()
    computed = logits(terms, asked.operands, asked.grid).expand(batch, heads, queries, keys)
    for b, h, q, k in torch.cartesian_prod(*map(torch.arange, computed.shape)).tolist():
        expected = loops.logit(terms, asked.operands, asked.grid, b, h, q, k)
        assert_close(computed[b, h, q, k], expected)


@every_term_set
def test_the_terms_add_up(terms):
    grid = Grid((3, 2), (2, 4))
    made = operands(Term.parse("1111"), grid)
    alone = sum(logits(term, made, grid) for term in terms)
    total = logits(terms, made, grid)
    assert_close(total, torch.zeros_like(total) + alone)


@every_term_set
def test_logits_have_size_one_on_the_axes_they_do_not_depend_on(terms):
    grid = Grid((3,), (4,))
    batch, heads, queries, keys = logits(terms, operands(terms, grid), grid).shape
    assert (batch == 2) == (terms.use_query or terms.use_content)
    assert (heads == 2) == bool(terms)
    assert (queries == 3) == (terms.use_query or terms.use_position)
    assert (keys == 4) == bool(terms)


@every_term_set
def test_nothing_is_asked_on_behalf_of_a_term_that_is_off(terms):
    made = operands(Term.parse("1111"), Grid((3,), (3,)))
    assert (biased_query(terms, made) is None) == (not terms.use_content)
    assert (position_query(terms, made) is None) == (not terms.use_position)
