"""The kernels of position tables, interpreted, against the tables that views make."""

import os

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import operands
from quatrain.ops.attention.triton.position_bias import LOWEST, Call, gradients_of_tables, tables_of
from quatrain.ops.positions import Grid, expand_queries
from quatrain.ops.support import Support
from quatrain.ops.terms import biased_query, position_biases, position_query
from quatrain.specs import ALL_TERM_SETS, Term

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]
sizes = st.integers(1, 6)
SERVED = [terms for terms in ALL_TERM_SETS if terms.use_position]


def bare(made):
    """The operands without what records their gradients."""
    named = {n: x.detach() for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    return type(made)(**named, relative=tuple(a.detach() for a in made.relative), scale=made.scale)


def formula(terms, made, grid):
    """Tables of rows, of columns, and what is asked of keys where a query asks."""
    places = expand_queries(position_query(terms, made), grid)
    rows, columns = position_biases(places, made.relative, grid)
    asks = biased_query(terms, made) if terms.has(Term.QUERY_KEY) else None
    return rows.mT, columns, asks


def assert_same(terms, made, call, theirs):
    """Tables agree, and the gradients of all operands that they are made of."""
    found = tables_of(call)
    assert_close([found.rows, found.columns], list(theirs[:2]))
    assert (found.asks is None) == (theirs[2] is None)
    if found.asks is not None:
        assert_close(found.asks, theirs[2])
    given = [None if x is None else torch.randn(x.shape).to(x) for x in theirs]
    back = gradients_of_tables(call, *given)
    asked = (made.query, made.key_bias if terms.has(Term.QUERY_KEY) else None, made.position_bias)
    leaves = [*(x for x in asked if x is not None), *made.relative]
    there = [(x, g) for x, g in zip(theirs, given, strict=True) if x is not None]
    right = torch.autograd.grad([x for x, _ in there], leaves, [g for _, g in there])
    single = [x for x in (back.query, back.key_bias, back.position_bias) if x is not None]
    assert_close([*single, *back.relative], list(right))


@settings(max_examples=15, deadline=None)
@given(st.sampled_from(SERVED), st.tuples(sizes, sizes), st.integers(1, 3))
def test_tables_and_their_gradients_are_those_that_views_make(terms, queries, stride):
    keys = tuple(-(-size // stride) for size in queries)
    grid = Grid(queries, keys, stride)
    made = operands(terms, grid)
    assert_same(terms, made, Call(terms, bare(made), grid), formula(terms, made, grid))


@pytest.mark.parametrize("grid", [Grid((9, 70), (5, 35), 2), Grid((2, 3), (4, 90))], ids=str)
@pytest.mark.parametrize("terms", ["1111", "1001"])
def test_they_are_where_queries_and_offsets_take_several_tiles(grid, terms):
    terms = Term.parse(terms)
    made = operands(terms, grid, widths=(5, 2))
    assert_same(terms, made, Call(terms, bare(made), grid), formula(terms, made, grid))


@pytest.mark.parametrize("grid", [Grid((5, 7), (3, 4), 2), Grid((3, 70), (3, 70))], ids=str)
def test_along_lines_they_are_those_of_the_places_of_an_axis(grid):
    terms = Term.POSITION
    made = operands(terms, grid)
    theirs = []
    for axis in (0, 1):
        line = Grid((grid.queries[axis],), (grid.keys[axis],), grid.key_stride)
        asks = position_query(terms, made)
        theirs += position_biases(asks, made.relative[axis : axis + 1], line)
    assert_same(terms, made, Call(terms, bare(made), grid, lines=True), (*theirs, None))


def test_beyond_a_window_there_is_what_stands_for_no_weight():
    grid = Grid((4, 5), (4, 5))
    made = bare(operands(Term.POSITION, grid))
    plain, found = (tables_of(Call(Term.POSITION, made, grid, w, lines=True)) for w in (None, 3))
    inside = Support(window=3).axis_mask(grid, 1, made.value.device)
    assert_close(found.columns, plain.columns.where(inside, LOWEST))
