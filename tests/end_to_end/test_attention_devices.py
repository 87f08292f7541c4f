"""Attention on every device that is here: what the plan chooses there, held to the formula."""

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from laws import Case, operands
from quatrain.ops.attend import attend
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
WIDTHS = [8, 5, *([32, 64, 128] if torch.cuda.is_available() else [])]
CALLS = {
    "a map": (Grid((24, 25), (24, 25)), {}),
    "long rows of keys": (Grid((8, 30), (9, 150)), {}),
    "strided and padded keys": (
        Grid((33, 40), (17, 20), 2),
        {"key_padding_mask": torch.arange(340) > torch.tensor([[200], [339]])},
    ),
    "a causal sequence": (Grid((300,), (300,)), {"causal": True}),
    "a window": (Grid((300,), (300,)), {"window": 31}),
}
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.05, torch.float16: 0.01}


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


def outcome(terms, case):
    """The output, and the gradients of all operands."""
    output = attend(terms, case.operands, case.grid, case.support)
    gradients = torch.autograd.grad(
        output.double().square().sum(), case.leaves, allow_unused=True, materialize_grads=True
    )
    return output, gradients


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize(("grid", "asked"), CALLS.values(), ids=CALLS.keys())
def test_values_and_gradients_are_those_of_the_formula(grid, asked, width, dtype, device):
    for terms in ALL_TERM_SETS:
        case = Case(operands(terms, grid, widths=(width, width)), grid, Support(**asked))
        exact, slopes = outcome(terms, moved(case, "cpu", torch.float64))
        found, gradients = outcome(terms, moved(case, device, dtype))
        assert found.dtype == dtype
        for mine, theirs in zip((found, *gradients), (exact, *slopes), strict=True):
            error = (mine.cpu().double() - theirs).norm()
            assert error <= TOLERANCE[dtype] * (1e-3 + theirs.norm()), str(terms)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
def test_gradients_repeat_bit_for_bit_where_that_is_asked_of_torch(terms, device, monkeypatch):
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    grid, support = CALLS["a map"][0], Support()
    case = moved(Case(operands(terms, grid, widths=(8, 8)), grid, support), device, torch.float32)
    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        first, second = outcome(terms, case), outcome(terms, case)
    finally:
        torch.use_deterministic_algorithms(before)
    assert_close(first, second, rtol=0, atol=0)
