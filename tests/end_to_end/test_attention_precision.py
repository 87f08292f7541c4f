"""Every method of attention in float32 and bfloat16, beside the formula in float64."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from laws import Case, fitting_methods, naive_attention, operands
from quatrain.ops.attention import attend, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import logits
from quatrain.specs import ALL_TERM_SETS, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
SQUARE, LINE = Grid((9, 13), (9, 13)), Grid((150,), (150,))
CALLS = {
    "a map with strided keys": (Grid((9, 13), (5, 7), key_stride=2), Support()),
    "another map": (Grid((9, 13), (7, 4)), Support()),
    "a window on a map": (SQUARE, Support(window=5)),
    "a sequence": (LINE, Support()),
    "a causal sequence": (LINE, Support(causal=True)),
}
every_call = pytest.mark.parametrize(("grid", "support"), CALLS.values(), ids=CALLS.keys())
EPSILON = torch.finfo(torch.float32).eps


def converted(made, dtype, biases=None):
    """The operands rounded to `dtype`, the biases to a type of their own if one is given."""

    def one(name, x):
        if isinstance(x, tuple):
            return tuple(one(name, axis) for axis in x)
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().to(biases if biases and name.endswith("bias") else dtype)

    return type(made)(**{name: one(name, x) for name, x in vars(made).items()})


def scaled(terms, made, grid, highest):
    """Values within 1, and logits whose largest is `highest` in size."""
    largest = logits(terms, made, grid).abs().max().item() or 1.0
    value = made.value / made.value.abs().max()
    return replace(made, value=value, scale=made.scale * highest / largest)


def formula(terms, made, grid, support):
    return attend(terms, converted(made, torch.float64), grid, support, "reference")


@every_term_set
@every_call
@pytest.mark.parametrize("highest", [0.5, 60.0, 200.0])
@pytest.mark.parametrize("widths", [(8, 8), (8, 6)], ids=["equal widths", "other widths"])
def test_float32_is_as_far_off_as_its_logits_are_and_no_further(
    terms, grid, support, highest, widths
):
    made = scaled(terms, operands(terms, grid, widths=widths), grid, highest)
    made = converted(made, torch.float32)
    scores = logits(terms, converted(made, torch.float64), grid)
    allowed = 1e-5 + 4 * EPSILON * (scores.max() - scores.min())
    exact = formula(terms, made, grid, support)
    for method in ("reference", *fitting_methods(terms, grid, support.structure)):
        output = attend(terms, made, grid, support, method)
        assert output.dtype == torch.float32
        assert (output - exact).abs().max() <= allowed, method


def outcome(method, terms, made, grid, support, *, lowered):
    """The output, and the gradients of all operands, as float64."""
    case = Case(converted(made, torch.bfloat16, biases=torch.float32), grid, support)
    if not lowered:
        case = replace(case, operands=converted(case.operands, torch.float64))
    for leaf in case.leaves:
        leaf.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        output = method(terms, case.operands, grid, support)
    if lowered:
        assert output.dtype == torch.bfloat16
    gradients = torch.autograd.grad(
        output.double().square().sum(), case.leaves, allow_unused=True, materialize_grads=True
    )
    return [x.detach().double() for x in (output, *gradients)]


@every_term_set
@every_call
@pytest.mark.parametrize("highest", [4.0, 20.0])
def test_under_autocast_no_method_is_further_off_than_the_formula_written_plainly(
    terms, grid, support, highest
):
    """Nor are its gradients, but for what the rounding of the output alone brings about."""
    made = scaled(terms, operands(terms, grid, widths=(8, 8)), grid, highest)
    call = terms, made, grid, support
    exact = outcome(reference.attend, *call, lowered=False)
    plain = outcome(naive_attention, *call, lowered=True)
    for method in ("auto", "reference", *fitting_methods(terms, grid, support.structure)):
        found = outcome(partial(attend, method=method), *call, lowered=True)
        for mine, theirs, right in zip(found, plain, exact, strict=True):
            allowed = 1.1 * (theirs - right).norm() + 2**-8 * right.norm()
            assert (mine - right).norm() <= allowed, method


@pytest.mark.parametrize("grid", [Grid((9, 13), (9, 13)), Grid((1,), (300,), first_query=299)])
@pytest.mark.parametrize("terms", ["0110", "1111"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_few_pairs_in_half_precision_have_logits_in_float32(terms, grid, dtype):
    """So that next to nothing is lost but by the rounding of the output."""
    terms, support = Term.parse(terms), Support()
    made = converted(scaled(terms, operands(terms, grid, widths=(32, 32)), grid, 60.0), dtype)
    exact = formula(terms, made, grid, support)
    output = attend(terms, made, grid, support)
    assert (output - exact).norm() <= 0.51 * torch.finfo(dtype).eps * exact.norm()
