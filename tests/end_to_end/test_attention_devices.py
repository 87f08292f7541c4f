"""Attention on every device that is here: what the plan chooses there, held to the formula."""

from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.testing import assert_close

from laws import Case, naive_attention, operands, repeating
from quatrain.ops.attention import attend, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WIDTHS = [8, 5, *([32, 64, 128] if torch.cuda.is_available() else [])]
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
    "a window": (Grid((300,), (300,)), {"window": 31}),
}
SLACK = {torch.float32: 1e-4, torch.bfloat16: 8e-3, torch.float16: 1e-3}
"""Of the numbers' own size: logits of heads of 128 are as far apart as 100, of which float32 keeps
5e-5."""


def moved(case, device, dtype):
    """The operands as leaves on a device, in another type, and the support there."""

    def one(x):
        if isinstance(x, tuple):
            return tuple(map(one, x))
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().to(device, dtype).requires_grad_()

    mask = case.support.key_padding_mask
    support = replace(case.support, key_padding_mask=None if mask is None else mask.to(device))
    made = type(case.operands)(**{name: one(x) for name, x in vars(case.operands).items()})
    return Case(made, case.grid, support)


def outcome(terms, case, method=attend):
    """The output, and the gradients of all operands: of a loss so small that float16 holds them."""
    output = method(terms, case.operands, case.grid, case.support)
    loss = output.double().square().sum() / 16
    gradients = torch.autograd.grad(loss, case.leaves, allow_unused=True, materialize_grads=True)
    return output, gradients


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", SLACK, ids=str)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("grid", "asked"), CALLS.values(), ids=CALLS.keys())
def test_values_and_gradients_are_no_worse_than_the_formula_gives_them(
    grid, asked, width, dtype, device
):
    for terms in ALL_TERM_SETS:
        case = Case(operands(terms, grid, widths=(width, width)), grid, Support(**asked))
        lower = moved(case, device, dtype)
        exact = outcome(terms, moved(lower, "cpu", torch.float64), reference.attend)
        theirs, mine = outcome(terms, lower, naive_attention), outcome(terms, lower)
        assert mine[0].dtype == dtype
        for right, other, found in zip(*map(flat, (exact, theirs, mine)), strict=True):
            slack = SLACK[dtype] * right.norm()
            off = (other - right).norm().nan_to_num(0.0, posinf=0.0)  # where float16 overflows
            assert (found - right).norm() <= 2 * off + slack, str(terms)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("width", [256, 512])
@pytest.mark.parametrize("terms", ["1111", "0110", "1010"])
def test_wide_heads_never_fall_back_to_a_matrix_of_all_pairs(terms, width, dtype):
    """Where torch may not take its formula, it says so instead."""
    terms, grid = Term.parse(terms), Grid((24, 25), (24, 25))
    case = Case(operands(terms, grid, widths=(width, width)), grid, Support())
    lower = moved(case, "cuda", dtype)
    exact = outcome(terms, moved(lower, "cpu", torch.float64), reference.attend)
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION]):
        output, _ = outcome(terms, lower)
    assert (output.cpu().double() - exact[0]).norm() <= 4 * SLACK[dtype] * exact[0].norm()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("keys", [64, 448, 576, 640])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_gradients_are_numbers_where_logits_are_far_below_zero(keys, dtype, device):
    """A kernel of cuDNN's made NaN of sums of weights that are smaller than float32 holds."""
    terms, grid = Term.parse("1000"), Grid((keys,), (keys,))
    made = operands(terms, grid, widths=(32, 32))
    far = replace(made, query=torch.full_like(made.query, 4.0), key=torch.full_like(made.key, -4.0))
    padding = torch.arange(keys) >= torch.tensor([[keys - 3], [keys]])
    case = moved(Case(far, grid, Support(key_padding_mask=padding)), device, dtype)
    exact = outcome(terms, moved(case, "cpu", torch.float64), reference.attend)
    theirs, mine = outcome(terms, case, naive_attention), outcome(terms, case)
    for right, other, found in zip(*map(flat, (exact, theirs, mine)), strict=True):
        off = (other - right).norm()  # all there is where the gradient is zero, as of these queries
        assert (found - right).norm() <= 2 * off + SLACK[dtype] * right.norm()


def flat(found):
    """All numbers, one tensor after the other, to be compared on a CPU."""
    output, gradients = found
    return [each.detach().cpu().double() for each in (output, *gradients)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
def test_gradients_repeat_bit_for_bit_where_that_is_asked_of_torch(terms, device, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    grid, support = CALLS["a map"][0], Support()
    case = moved(Case(operands(terms, grid, widths=(8, 8)), grid, support), device, torch.float32)
    with repeating():
        first, second = outcome(terms, case), outcome(terms, case)
    assert_close(first, second, rtol=0, atol=0)
