import pytest
import torch
from torch.testing import assert_close

from laws import Case, convert_operands, operands
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import InputError, Term

GRID, TERMS = Grid((5,), (4,)), Term.parse("1111")


def causal_attention(operands):
    return blockwise_attention(Case(TERMS, operands, GRID, Support(causal=True)))


def test_meta_tensors_give_a_shape():
    x = convert_operands(operands(TERMS, GRID), lambda x: x.to("meta"))
    assert causal_attention(x).shape == (2, 2, 5, 2)


def test_second_derivatives_are_refused():
    case = Case(TERMS, operands(TERMS, GRID), GRID, Support())
    (first,) = torch.autograd.grad(
        causal_attention(case.operands).square().sum(), case.operands.value, create_graph=True
    )
    with pytest.raises(InputError) as caught:
        torch.autograd.grad(first.sum(), case.operands.value)
    assert caught.value.field == "method"


@pytest.mark.compile
def test_it_compiles_into_one_graph_with_gradients():
    torch.compiler.reset()
    x = operands(TERMS, GRID)
    compiled = torch.compile(causal_attention, fullgraph=True, backend="aot_eager")
    assert_close(compiled(x), causal_attention(x))
    grads = [
        torch.autograd.grad(f(x).square().sum(), (x.query, *x.relative))
        for f in (compiled, causal_attention)
    ]
    assert_close(*grads)
