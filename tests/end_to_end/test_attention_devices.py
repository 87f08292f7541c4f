"""Attention on every available device: the planned method agrees with the formula."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from laws import METHOD_TERMS, Case, convert_operands, deterministic, naive_attention, operands
from quatrain.ops.attention import attend
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
GPU = torch.cuda.is_available()
WIDTHS = [5, *([8, 32, 64, 128] if GPU else [])]
CALLS = {
    "a map": (Grid((24, 25), (24, 25)), {}),
    "long rows of keys": (Grid((8, 30), (9, 150)), {}),
    "strided and padded keys": (
        Grid((33, 40), (17, 20), 2),
        {"key_padding_mask": torch.arange(340) > torch.tensor([[200], [339]])},
    ),
    "an element that is all padding": (
        Grid((24, 25), (9, 64)),
        {"key_padding_mask": torch.arange(576) > torch.tensor([[500], [-1]])},
    ),
    "a window of a map": (Grid((33, 40), (33, 40)), {"window": 7}),
    "a causal sequence": (Grid((300,), (300,)), {"causal": True}),
    "a map with a null key": (Grid((24, 25), (24, 25)), {"null_key": True}),
    "a causal sequence with a null key": (
        Grid((300,), (300,)),
        {"causal": True, "null_key": True},
    ),
    "a window": (Grid((300,), (300,)), {"window": 31}),
}
SLACK = {torch.float32: 1e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""Relative errors: logits of heads of 128 spread by 100, of which float32 resolves 5e-5."""


def to_device(case, device, dtype):
    """The case on a device, with operands as leaves of another type."""
    mask = case.support.key_padding_mask
    support = replace(case.support, key_padding_mask=None if mask is None else mask.to(device))
    x = convert_operands(case.operands, lambda x: x.detach().to(device, dtype).requires_grad_())
    return Case(case.terms, x, case.grid, support)


def output_and_grads(case, method=attend):
    """The output and the gradients of all operands, of a loss small enough for float16."""
    output = method(case)
    loss = output.double().square().sum() / 16
    gradients = torch.autograd.grad(loss, case.leaves, allow_unused=True, materialize_grads=True)
    return output, gradients


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SLACK, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("grid", "restrictions"), CALLS.values(), ids=CALLS.keys())
def test_outputs_and_gradients_are_as_precise_as_those_of_the_formula(
    grid, restrictions, width, dtype, device
):
    for terms in ALL_TERM_SETS if GPU else METHOD_TERMS:
        case = Case(
            terms, operands(terms, grid, widths=(width, width)), grid, Support(**restrictions)
        )
        lower = to_device(case, device, dtype)
        exact = output_and_grads(to_device(lower, "cpu", torch.float64), reference_attention)
        naive, ours = output_and_grads(lower, naive_attention), output_and_grads(lower)
        assert ours[0].dtype == dtype
        for right, other, our in zip(*map(flat, (exact, naive, ours)), strict=True):
            slack = SLACK[dtype] * right.norm()
            off = (other - right).norm().nan_to_num(0.0, posinf=0.0)  # where float16 overflows
            assert (our - right).norm() <= 2 * off + slack, str(terms)


@pytest.mark.skipif(not GPU, reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("width", [256, 512])
@pytest.mark.parametrize("terms", ["1111", "0110", "1010"])
def test_wide_heads_never_fall_back_to_a_matrix_of_all_pairs(terms, width, dtype):
    """With its formula disabled, torch raises instead."""
    terms, grid = Term.parse(terms), Grid((24, 25), (24, 25))
    case = Case(terms, operands(terms, grid, widths=(width, width)), grid, Support())
    lower = to_device(case, "cuda", dtype)
    exact = output_and_grads(to_device(lower, "cpu", torch.float64), reference_attention)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        output, _ = output_and_grads(lower)
    assert (output.cpu().double() - exact[0]).norm() <= 4 * SLACK[dtype] * exact[0].norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("keys", [64, 448, 576, 640])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_are_finite_where_logits_are_far_below_zero(keys, dtype, device):
    """cuDNN gave NaN where sums of weights are smaller than float32 can represent."""
    terms, grid = Term.parse("1000"), Grid((keys,), (keys,))
    x = operands(terms, grid, widths=(32, 32))
    far = replace(x, query=torch.full_like(x.query, 4.0), key=torch.full_like(x.key, -4.0))
    padding = torch.arange(keys) >= torch.tensor([[keys - 3], [keys]])
    case = to_device(Case(terms, far, grid, Support(key_padding_mask=padding)), device, dtype)
    exact = output_and_grads(to_device(case, "cpu", torch.float64), reference_attention)
    naive, ours = output_and_grads(case, naive_attention), output_and_grads(case)
    for right, other, our in zip(*map(flat, (exact, naive, ours)), strict=True):
        off = (other - right).norm()  # the whole gradient where it should be zero
        assert (our - right).norm() <= 2 * off + SLACK[dtype] * right.norm()


def flat(result):
    """Output and gradients as float64 on a CPU."""
    output, gradients = result
    return [x.detach().cpu().double() for x in (output, *gradients)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("terms", ALL_TERM_SETS if GPU else METHOD_TERMS, ids=str)
def test_deterministic_gradients_are_equal_bit_for_bit(terms, device, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    grid, support = CALLS["a map"][0], Support()
    case = to_device(
        Case(terms, operands(terms, grid, widths=(8, 8)), grid, support), device, torch.float32
    )
    with deterministic():
        first, second = output_and_grads(case), output_and_grads(case)
    assert_close(first, second, rtol=0, atol=0)
