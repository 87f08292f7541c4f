import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import convert_operands, operands
from quatrain.ops.attention.triton.position_bias import (
    MASK_VALUE,
    TILE,
    AttentionCall,
    position_bias,
    position_bias_backward,
)
from quatrain.ops.positions import Grid, expand_queries
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands, biased_query, position_biases, position_query
from quatrain.specs import ALL_TERM_SETS, Term

pytest.importorskip("triton", reason="Triton is not installed")
sizes = st.integers(1, 6)
APPLICABLE = [terms for terms in ALL_TERM_SETS if terms.use_position]


def without_graph(operands):
    return convert_operands(operands, torch.Tensor.detach)


def formula(terms, operands, grid):
    """Row bias, column bias, and the biased query of key content if E1 is on."""
    query = expand_queries(position_query(terms, operands), grid)
    rows, columns = position_biases(query, operands.relative, grid)
    biased = biased_query(terms, operands) if terms.has(Term.QUERY_KEY) else None
    return rows.mT, columns, biased


def assert_agrees(terms, operands, call, expected):
    """Biases agree, and the gradients of all operands that they depend on."""
    bias = position_bias(call)
    assert_close([bias.rows, bias.columns], list(expected[:2]))
    assert (bias.query is None) == (expected[2] is None)
    if bias.query is not None:
        assert_close(bias.query, expected[2])
    incoming = [None if x is None else torch.randn(x.shape).to(x) for x in expected]
    grads = position_bias_backward(call, *incoming)
    content_vector = operands.content_vector if terms.has(Term.QUERY_KEY) else None
    single = (operands.query, content_vector, operands.position_vector)
    leaves = [*(x for x in single if x is not None), *operands.relative]
    outputs = [(x, g) for x, g in zip(expected, incoming, strict=True) if x is not None]
    expected_grads = torch.autograd.grad([x for x, _ in outputs], leaves, [g for _, g in outputs])
    single = [
        x for x in (grads.query, grads.content_vector, grads.position_vector) if x is not None
    ]
    assert_close([*single, *grads.relative], list(expected_grads))


@settings(max_examples=4, deadline=None)
@given(st.sampled_from(APPLICABLE), st.tuples(sizes, sizes), st.integers(1, 3))
def test_biases_and_their_gradients_agree_with_the_formula(terms, queries, stride):
    keys = tuple(-(-size // stride) for size in queries)
    grid = Grid(queries, keys, stride)
    x = operands(terms, grid)
    call = AttentionCall(terms, without_graph(x), grid)
    assert_agrees(terms, x, call, formula(terms, x, grid))


@pytest.mark.slow
@pytest.mark.parametrize("grid", [Grid((9, 70), (5, 35), 2), Grid((2, 3), (4, 90))], ids=str)
@pytest.mark.parametrize("terms", ["1111", "1001"])
def test_they_agree_over_several_tiles_of_queries_and_encodings(grid, terms):
    terms = Term.parse(terms)
    x = operands(terms, grid, widths=(5, 2))
    call = AttentionCall(terms, without_graph(x), grid)
    assert_agrees(terms, x, call, formula(terms, x, grid))


@pytest.mark.parametrize(
    "grid",
    [Grid((5, 7), (3, 4), 2), pytest.param(Grid((3, 70), (3, 70)), marks=pytest.mark.slow)],
    ids=str,
)
def test_axial_biases_are_per_coordinate(grid):
    terms = Term.POSITION
    x = operands(terms, grid)
    expected = []
    for axis in (0, 1):
        line = Grid((grid.queries[axis],), (grid.keys[axis],), grid.key_stride)
        expected += position_biases(position_query(terms, x), x.relative[axis : axis + 1], line)
    call = AttentionCall(terms, without_graph(x), grid, axial=True)
    assert_agrees(terms, x, call, (*expected, None))


def test_distances_beyond_a_window_are_masked():
    grid = Grid((4, 5), (4, 5))
    x = without_graph(operands(Term.POSITION, grid))
    whole, windowed = (
        position_bias(AttentionCall(Term.POSITION, x, grid, window, axial=True))
        for window in (None, 3)
    )
    inside = Support(window=3).axis_mask(grid, 1, x.value.device)
    assert_close(windowed.columns, whole.columns.where(inside, MASK_VALUE))


@pytest.mark.parametrize(
    "queries",
    [
        (1, 1),
        *(
            pytest.param(n, marks=pytest.mark.slow)
            for n in ((1, TILE), (TILE + 1, 1), (3, TILE - 1))
        ),
    ],
)
def test_every_number_is_written(queries, monkeypatch):
    grid = Grid(queries, queries)
    encodings = tuple(torch.ones(2, len(grid.relative_range(axis)), 3) for axis in (0, 1))
    empty, like = torch.Tensor.new_empty, torch.empty_like

    def nan(self, *shape, **options):
        return empty(self, *shape, **options).fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", nan)
    monkeypatch.setattr(torch, "empty_like", lambda x, **kw: like(x, **kw).fill_(torch.nan))
    ones = torch.ones(1, 2, queries[0] * queries[1], 3)
    x = Operands(ones, ones, ones, torch.ones(2, 3), torch.ones(2, 3), encodings)
    call = AttentionCall(Term.parse("1111"), x, grid)
    bias = position_bias(call)
    assert bias.rows.unique().tolist() == bias.columns.unique().tolist() == [6.0]
    assert bias.query.unique().tolist() == [2.0]
    grads = position_bias_backward(call, *(torch.ones(x.shape) for x in vars(bias).values()))
    for grad in (grads.query, grads.content_vector, grads.position_vector, *grads.relative):
        assert grad.isfinite().all()


@pytest.mark.parametrize("axial", [True, False])
@pytest.mark.parametrize("stride", [1, 3])
def test_every_pair_has_the_bias_of_its_relative_position(axial, stride):
    """Encodings are the relative positions themselves, so that a bias shows which one it has."""
    grid = Grid((2, 66), (2, 40), stride)
    positions = [grid.relative_tensor(axis, torch.device("cpu")).double() for axis in (0, 1)]
    value = torch.zeros(1, 1, 80, 1, dtype=torch.float64)
    ones, encodings = torch.ones(1, 1).double(), tuple(x[None, :, None] for x in positions)
    x = Operands(value, position_vector=ones, relative=encodings)
    bias = position_bias(AttentionCall(Term.POSITION, x, grid, axial=axial))
    rows, columns = (grid.relative_matrix(axis, value.device).double() for axis in (0, 1))
    if not axial:
        rows = rows.repeat_interleave(66, 0).mT
        columns = columns.repeat(2, 1)
    assert torch.equal(bias.rows[0, 0], rows)
    assert torch.equal(bias.columns[0, 0], columns)
