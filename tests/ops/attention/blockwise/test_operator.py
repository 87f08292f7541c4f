import pytest
import torch
from torch.testing import assert_close

from laws import Case, operands
from quatrain.ops.attention.blockwise.operator import blockwise_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import InputError, Term

GRID, TERMS = Grid((5,), (4,)), Term.parse("1111")


def called(made):
    return blockwise_attention(TERMS, made, GRID, Support(causal=True), product=False)


def test_tensors_without_numbers_give_a_shape():
    made = operands(TERMS, GRID)
    bare = {n: x.to("meta") for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    made = type(made)(**bare, relative=tuple(x.to("meta") for x in made.relative))
    assert called(made).shape == (2, 2, 5, 2)


def test_a_gradient_of_a_gradient_is_refused():
    case = Case(operands(TERMS, GRID), GRID, Support())
    (first,) = torch.autograd.grad(
        called(case.operands).square().sum(), case.operands.value, create_graph=True
    )
    with pytest.raises(InputError, match='method = "reference"'):
        torch.autograd.grad(first.sum(), case.operands.value)


@pytest.mark.compile
def test_it_compiles_into_one_graph_that_serves_gradients():
    torch.compiler.reset()
    made = operands(TERMS, GRID)
    compiled = torch.compile(called, fullgraph=True, backend="aot_eager")
    assert_close(compiled(made), called(made))
    gradients = [
        torch.autograd.grad(how(made).square().sum(), (made.query, *made.relative))
        for how in (compiled, called)
    ]
    assert_close(*gradients)
