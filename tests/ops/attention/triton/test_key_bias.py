"""What each key has for all, by kernels that are interpreted, against the formula of E3."""

import os

import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.triton import key_bias as module
from quatrain.ops.attention.triton.key_bias import (
    gradients_of_key_logits,
    key_logits,
    like_key_logits,
    parts_of,
)
from quatrain.ops.attention.triton.position_bias import LOWEST

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


def made(keys=70, width=5, dtype=torch.float64):
    torch.manual_seed(0)
    value = torch.randn(2, 3, keys, 4, dtype=dtype)
    key, bias = torch.randn(2, 3, keys, width).double(), torch.randn(3, width).double()
    return value, key.requires_grad_(), bias.requires_grad_()


def formula(key, bias, scale):
    return torch.einsum("hd,bhkd->bhk", bias, key) * scale


@pytest.mark.parametrize("keys", [1, 64, 70])
def test_logits_and_their_gradients_are_those_of_the_formula(keys):
    value, key, bias = made(keys)
    found = key_logits(value, key.detach(), bias.detach(), None, 0.7)
    theirs = formula(key, bias, 0.7)
    assert_close(found, theirs)
    given = torch.randn(theirs.shape).double()
    mine = gradients_of_key_logits(given, key.detach(), bias.detach(), 0.7)
    assert_close(mine, torch.autograd.grad(theirs, (key, bias), given))


@pytest.mark.parametrize("shared", [True, False])
def test_padding_has_no_weight_whatever_the_key(shared):
    value, key, bias = made()
    padding = torch.rand(1 if shared else 2, 70) < 0.5
    plain = formula(key, bias, 0.7)
    for given, right in (((key, bias), plain), ((None, None), torch.zeros_like(plain))):
        found = key_logits(value, *given, padding, 0.7)
        assert_close(found, right.where(~padding[:, None], LOWEST))


def test_for_values_of_16_bits_they_are_parts(monkeypatch):
    monkeypatch.setattr(module, "OF_PARTS", torch.float32)
    value, key, bias = made(dtype=torch.float16)
    found = key_logits(value, key.detach(), bias.detach(), None, 0.7)
    assert found.shape == like_key_logits(value).shape == (2, 3, 70, module.PARTS)
    assert_close(found.sum(-1), formula(key, bias, 0.7).float())
    whole = torch.randn(2, 3, 7)
    assert_close(parts_of(whole).sum(-1), whole)


def test_no_keys_at_all_ask_for_no_kernel():
    value, key, bias = made()
    none = key_logits(value[:0], key[:0], bias, None, 1.0)
    assert none.shape == (0, 3, 70)
    to_key, to_bias = gradients_of_key_logits(none, key[:0].detach(), bias.detach(), 1.0)
    assert to_key.shape == (0, 3, 70, 5)
    assert not to_bias.any()
