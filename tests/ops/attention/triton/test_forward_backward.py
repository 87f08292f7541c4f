from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from laws import convert_operands, operands
from quatrain.ops.attention.triton import forward_backward
from quatrain.ops.attention.triton.position_bias import AttentionCall
from quatrain.ops.positions import Grid
from quatrain.specs import ALL_TERM_SETS, Term

pytest.importorskip("triton", reason="Triton is not installed")
APPLICABLE = [terms for terms in ALL_TERM_SETS if terms.use_position]
GRID = Grid((2, 3), (1, 2), 2)


def attention_call(terms, axial=False):
    x = convert_operands(operands(terms, GRID, widths=(3, 4)), torch.Tensor.detach)
    return AttentionCall(terms, x, GRID, axial=axial)


@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
@pytest.mark.parametrize("padded", [True, False])
def test_outputs_have_the_shapes_and_types_of_empty_outputs(terms, padded):
    padding = torch.zeros(2, 2, dtype=torch.bool) if padded else None
    for axial in {False, not terms.use_query}:
        call = attention_call(terms, axial)
        result = forward_backward.forward(call, padding)
        empty = forward_backward.empty_output(call, padded=padded)
        for name, x in vars(result).items():
            other = getattr(empty, name)
            assert (x is None) == (other is None), name
            if x is not None:
                assert (x.shape, x.dtype) == (other.shape, other.dtype), name
                assert x.is_contiguous(), name


@pytest.mark.parametrize("terms", ["0001", "0011"])
def test_axial_outputs_and_lse_agree_with_those_of_all_pairs(terms):
    terms = Term.parse(terms)
    results = [
        forward_backward.forward(attention_call(terms, axial), None) for axial in (False, True)
    ]
    assert_close(*(result.output for result in results))
    assert_close(*(result.lse for result in results))


@pytest.mark.parametrize("terms", ["0001", "0110", "1111"])
def test_gradients_have_the_types_of_their_operands(terms):
    call = attention_call(Term.parse(terms))
    call = replace(call, operands=replace(call.operands, value=call.operands.value.float()))
    result = forward_backward.forward(call, None)
    grads = forward_backward.backward(call, result, torch.ones_like(result.output))
    for name in ("value", "query", "key", "content_vector", "position_vector"):
        x, grad = getattr(call.operands, name), getattr(grads, name)
        assert (x is None) == (grad is None), name
        if x is not None:
            assert (x.shape, x.dtype) == (grad.shape, grad.dtype), name
    assert [x.dtype for x in grads.relative] == [torch.float64] * 2
