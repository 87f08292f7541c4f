"""Weighted sums of several attentions at once, and gradients of the lse."""

import pytest
import torch
from torch.testing import assert_close

from laws import deterministic
from quatrain.ops.attention.triton import key_logits
from quatrain.ops.attention.triton.attention import (
    KernelInputs,
    attention_backward,
    attention_forward,
)

pytest.importorskip("triton", reason="Triton is not installed")


def leaf(*shape, dtype=torch.float64):
    return torch.randn(*shape, dtype=dtype, requires_grad=True)


def formula(value, key_logits, column_bias):
    """Shapes: value (b h k e), logits (b h k), column bias (h q k)."""
    scores = column_bias + key_logits[:, :, None]
    return scores.softmax(-1) @ value, scores.logsumexp(-1)


@pytest.mark.parametrize("layout", ["outer", "inner"])
@pytest.mark.parametrize("repeatable", [pytest.param(True, marks=pytest.mark.slow), False])
def test_several_attentions_share_their_biases(layout, repeatable):
    torch.manual_seed(0)
    batch, heads, attentions, queries, keys, width = 2, 2, 3, 5, 4, 4
    column_bias = leaf(1, heads, queries, keys)
    shape = (attentions, keys) if layout == "outer" else (keys, attentions)
    axis = shape.index(attentions) + 2
    value, logits = leaf(batch, heads, *shape, width), leaf(batch, heads, *shape)
    inputs = KernelInputs(
        value.detach().flatten(2, 3),
        column_bias.detach(),
        key_logits=logits.detach().flatten(2, 3),
        **{layout: attentions},
    )
    output, lse = attention_forward(inputs)
    separate = [
        formula(v, s, column_bias[0])
        for v, s in zip(value.unbind(axis), logits.unbind(axis), strict=True)
    ]
    expected = [torch.stack(x, axis).flatten(2, 3) for x in zip(*separate, strict=True)]
    assert_close([output, lse], expected)
    incoming = [torch.randn_like(x) for x in expected]
    with deterministic(repeatable):
        grads = attention_backward(inputs, output, lse, *incoming)
    expected_grads = torch.autograd.grad(expected, (value, logits, column_bias), incoming)
    grad_logits = grads.key_logits.view(logits.shape)
    assert_close((grads.value.view(value.shape), grad_logits, grads.column_bias), expected_grads)


def test_the_lse_alone_has_gradients():
    value, logits, column_bias = leaf(1, 1, 3, 2), leaf(1, 1, 3), leaf(1, 1, 4, 3)
    inputs = KernelInputs(value.detach(), column_bias.detach(), key_logits=logits.detach())
    output, lse = attention_forward(inputs)
    no_grads, ones = torch.zeros_like(output), torch.ones_like(lse)
    grads = attention_backward(inputs, output, lse, no_grads, ones)
    expected = formula(value, logits, column_bias[0])[1]
    assert not grads.value.any()
    assert_close(
        (grads.key_logits, grads.column_bias),
        torch.autograd.grad(expected.sum(), (logits, column_bias)),
    )


def test_in_16_bits_logits_of_keys_are_sums_of_parts(monkeypatch):
    """Parts are float32: the interpreter multiplies the bits of bfloat16 as integers."""
    monkeypatch.setattr(key_logits, "PARTS_DTYPE", torch.float32)
    torch.manual_seed(0)
    value = leaf(1, 2, 7, 4, dtype=torch.float16)
    logits, column_bias = leaf(1, 2, 7, dtype=torch.float32), leaf(1, 2, 5, 7, dtype=torch.float32)
    parts = key_logits.split_into_parts(logits.detach())
    inputs = KernelInputs(value.detach(), column_bias.detach(), key_logits=parts)
    output, lse = attention_forward(inputs)
    expected = formula(value.float(), logits, column_bias[0])
    assert_close(lse, expected[1])
    assert_close(output, expected[0].half(), rtol=2e-3, atol=2e-3)
    grads = attention_backward(inputs, output, lse, torch.ones_like(output))
    expected_grads = torch.autograd.grad(expected[0].sum(), (value, logits))
    assert_close((grads.value, grads.key_logits), expected_grads, rtol=5e-3, atol=5e-3)
