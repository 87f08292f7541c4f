"""Weighted sums by tiles, interpreted: several attentions at once, and totals."""

import os

import pytest
import torch
from torch.testing import assert_close

from laws import repeating
from quatrain.ops.attention.triton import key_bias as key_logits
from quatrain.ops.attention.triton.attention import Factors, gradients, mix

pytest.importorskip("triton", reason="Triton is not installed")
interpreted = pytest.mark.skipif(
    "TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"
)


def leaf(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def formula(value, key_logits, columns):
    """Shapes: value (b h k e), logits (b h k), columns (h q k)."""
    scores = columns + key_logits[:, :, None]
    return scores.softmax(-1) @ value, scores.logsumexp(-1)


@interpreted
@pytest.mark.parametrize("laid", ["outer", "inner"])
@pytest.mark.parametrize("ordered", [True, False])
def test_several_attentions_share_their_tables(laid, ordered):
    torch.manual_seed(0)
    batch, heads, several, queries, keys, width = 2, 2, 3, 5, 7, 4
    columns = leaf(1, heads, queries, keys)
    shape = (several, keys) if laid == "outer" else (keys, several)
    axis = shape.index(several) + 2
    value, logits = leaf(batch, heads, *shape, width), leaf(batch, heads, *shape)
    bare = (value.detach().flatten(2, 3), columns.detach())
    factors = Factors(*bare, key_logits=logits.detach().flatten(2, 3), **{laid: several})
    mixed, totals = mix(factors)
    each = [
        formula(v, s, columns[0])
        for v, s in zip(value.unbind(axis), logits.unbind(axis), strict=True)
    ]
    theirs = [torch.stack(found, axis).flatten(2, 3) for found in zip(*each, strict=True)]
    assert_close([mixed, totals], theirs)
    given = [torch.randn_like(x) for x in theirs]
    with repeating(ordered):
        found = gradients(factors, mixed, totals, *given)
    right = torch.autograd.grad(theirs, (value, logits, columns), given)
    mine = (found.value.view(value.shape), found.key_logits.view(logits.shape), found.columns)
    assert_close(mine, right)


@interpreted
def test_totals_alone_have_gradients():
    value, logits, columns = leaf(1, 1, 3, 2), leaf(1, 1, 3), leaf(1, 1, 4, 3)
    factors = Factors(value.detach(), columns.detach(), key_logits=logits.detach())
    mixed, totals = mix(factors)
    found = gradients(factors, mixed, totals, torch.zeros_like(mixed), torch.ones_like(totals))
    theirs = formula(value, logits, columns[0])[1]
    right = torch.autograd.grad(theirs.sum(), (logits, columns))
    assert not found.value.any()
    assert_close((found.key_logits, found.columns), right)


@interpreted
def test_in_16_bits_logits_of_keys_are_sums_of_parts(monkeypatch):
    """Of float32, since the interpreter multiplies the bits of bfloat16 as integers."""
    monkeypatch.setattr(key_logits, "OF_PARTS", torch.float32)
    torch.manual_seed(0)
    value = leaf(1, 2, 7, 4, dtype=torch.float16)
    logits, columns = leaf(1, 2, 7, dtype=torch.float32), leaf(1, 2, 5, 7, dtype=torch.float32)
    parts = key_logits.parts_of(logits.detach())
    factors = Factors(value.detach(), columns.detach(), key_logits=parts)
    mixed, totals = mix(factors)
    theirs = formula(value.float(), logits, columns[0])
    assert_close(totals, theirs[1])
    assert_close(mixed, theirs[0].half(), rtol=2e-3, atol=2e-3)
    found = gradients(factors, mixed, totals, torch.ones_like(mixed))
    right = torch.autograd.grad(theirs[0].sum(), (value, logits))
    assert_close((found.value, found.key_logits), right, rtol=5e-3, atol=5e-3)
