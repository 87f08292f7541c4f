import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import Case, assert_same_attention, cases, operands
from quatrain.ops.attention.pooled import pooled_attention
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

APPLICABLE = [Term.parse("0000"), Term.parse("0010")]


@settings(max_examples=60, deadline=None)
@given(cases(st.sampled_from(APPLICABLE), longest=7, leave_out=("window", "attend_mask")))
def test_it_agrees_with_the_reference(case):
    assert_same_attention(pooled_attention, reference_attention, case)


@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
@pytest.mark.parametrize("length", [31, 33, 100, 1100])
@pytest.mark.parametrize("null_key", [False, True])
def test_the_running_softmax_agrees_over_several_blocks(terms, length, null_key):
    grid = Grid((length,), (length,))
    padding = torch.arange(length).expand(2, -1) % 40 < 3
    support = Support(True, None, padding, null_key=null_key)
    case = Case(terms, operands(terms, grid, spread=40.0), grid, support)
    assert_same_attention(pooled_attention, reference_attention, case)


class Causal(torch.nn.Module):
    def forward(self, value):
        grid = Grid((value.shape[2],), (value.shape[2],))
        key, vector = value.flip(2), value[0, :, 0]
        operands = Operands(value=value, key=key, content_vector=vector, scale=10.0)
        return pooled_attention(Case(APPLICABLE[1], operands, grid, Support(causal=True)))


@pytest.mark.compile
@pytest.mark.slow
@pytest.mark.parametrize("example", [5, 96])
def test_exported_for_one_length_it_takes_every_length(example):
    def content(length):
        generator = torch.Generator().manual_seed(length)
        return torch.randn(2, 2, length, 3, dtype=torch.float64, generator=generator)

    sizes = ({2: torch.export.Dim.DYNAMIC},)
    exported = torch.export.export(Causal(), (content(example),), dynamic_shapes=sizes).module()
    for length in (2, 31, 32, 33, 64, 96, 100, 1024, 1100):
        value = content(length).requires_grad_()
        ours, theirs = exported(value), Causal()(value)
        assert_close(ours, theirs)
        assert_close(*(torch.autograd.grad(y.square().sum(), value) for y in (ours, theirs)))
