import pytest
import torch
from torch.testing import assert_close

from quatrain.ops.attention.triton import key_logits
from quatrain.ops.attention.triton.key_logits import (
    TILE,
    empty_key_logits,
    masked_key_logits,
    masked_key_logits_backward,
    split_into_parts,
)
from quatrain.ops.attention.triton.position_bias import MASK_VALUE

pytest.importorskip("triton", reason="Triton is not installed")


def random_operands(keys=70, width=5, dtype=torch.float64):
    torch.manual_seed(0)
    value = torch.randn(2, 3, keys, 4, dtype=dtype)
    key, bias = torch.randn(2, 3, keys, width).double(), torch.randn(3, width).double()
    return value, key.requires_grad_(), bias.requires_grad_()


def formula(key, bias, scale):
    return torch.einsum("hd,bhkd->bhk", bias, key) * scale


@pytest.mark.parametrize("keys", [1, 64, 70])
def test_logits_and_their_gradients_agree_with_the_formula(keys):
    value, key, bias = random_operands(keys)
    logits = masked_key_logits(value, key.detach(), bias.detach(), None, 0.7)
    expected = formula(key, bias, 0.7)
    assert_close(logits, expected)
    grad_logits = torch.randn(expected.shape).double()
    grads = masked_key_logits_backward(grad_logits, key.detach(), bias.detach(), 0.7)
    assert_close(grads, torch.autograd.grad(expected, (key, bias), grad_logits))


@pytest.mark.parametrize("shared", [True, False])
def test_padding_is_masked_whatever_the_key(shared):
    value, key, bias = random_operands()
    padding = torch.rand(1 if shared else 2, 70) < 0.5
    unmasked = formula(key, bias, 0.7)
    for arguments, expected in (((key, bias), unmasked), ((None, None), 0 * unmasked)):
        logits = masked_key_logits(value, *arguments, padding, 0.7)
        assert_close(logits, expected.where(~padding[:, None], MASK_VALUE))


def test_for_values_of_16_bits_logits_are_parts(monkeypatch):
    monkeypatch.setattr(key_logits, "PARTS_DTYPE", torch.float32)
    value, key, bias = random_operands(dtype=torch.float16)
    logits = masked_key_logits(value, key.detach(), bias.detach(), None, 0.7)
    assert logits.shape == empty_key_logits(value).shape == (2, 3, 70, key_logits.PARTS)
    assert_close(logits.sum(-1), formula(key, bias, 0.7).float())
    numbers = torch.randn(2, 3, 7)
    assert_close(split_into_parts(numbers).sum(-1), numbers)


def test_an_empty_batch_launches_no_kernel():
    value, key, bias = random_operands()
    logits = masked_key_logits(value[:0], key[:0], bias, None, 1.0)
    assert logits.shape == (0, 3, 70)
    grad_key, grad_bias = masked_key_logits_backward(logits, key[:0].detach(), bias.detach(), 1.0)
    assert grad_key.shape == (0, 3, 70, 5)
    assert not grad_bias.any()


@pytest.mark.parametrize("keys", [1, TILE - 1, TILE, TILE + 1])
def test_every_number_is_written(keys, monkeypatch):
    empty = torch.Tensor.new_empty

    def nan(self, *shape, **options):
        return empty(self, *shape, **options).fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", nan)
    value, key, bias = torch.ones(2, 3, keys, 4), torch.ones(2, 3, keys, 5), torch.ones(3, 5)
    logits = masked_key_logits(value, key, bias, None, 2.0)
    assert logits.unique().tolist() == [10.0]
    grad_key, grad_bias = masked_key_logits_backward(torch.ones(2, 3, keys), key, bias, 2.0)
    assert grad_key.unique().tolist() == [2.0]
    assert grad_bias.unique().tolist() == [4.0 * keys]
