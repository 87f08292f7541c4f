"""Every attention method in float32 and bfloat16, compared with the formula in float64."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from laws import METHOD_TERMS, Case, applicable_methods, naive_attention, operands
from quatrain.ops.attention import attend
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import logits
from quatrain.specs import ALL_TERM_SETS, Term

OTHERS = [terms for terms in ALL_TERM_SETS if terms not in METHOD_TERMS]
every_term_set = pytest.mark.parametrize(
    "terms", [*METHOD_TERMS, *(pytest.param(t, marks=pytest.mark.slow) for t in OTHERS)], ids=str
)
SQUARE, LINE = Grid((9, 13), (9, 13)), Grid((150,), (150,))
CALLS = {
    "a map with strided keys": (Grid((9, 13), (5, 7), key_stride=2), Support()),
    "another map": (Grid((9, 13), (7, 4)), Support()),
    "a map with a null key": (SQUARE, Support(null_key=True)),
    "a window on a map": (SQUARE, Support(window=5)),
    "a sequence": (LINE, Support()),
    "a causal sequence": (LINE, Support(causal=True)),
}
every_call = pytest.mark.parametrize(("grid", "support"), CALLS.values(), ids=CALLS.keys())
EPSILON = torch.finfo(torch.float32).eps


def converted(operands, dtype, vectors=None):
    """The operands rounded to `dtype`, and the vectors u and v to `vectors`, if given."""

    def one(name, x):
        if isinstance(x, tuple):
            return tuple(one(name, axis) for axis in x)
        if not isinstance(x, torch.Tensor):
            return x
        return x.detach().to(vectors if vectors and name.endswith("vector") else dtype)

    return type(operands)(**{name: one(name, x) for name, x in vars(operands).items()})


def scaled(terms, x, grid, highest):
    """Scale values to at most 1, and logits to at most `highest` in size."""
    largest = logits(terms, x, grid).abs().max().item() or 1.0
    value = x.value / x.value.abs().max()
    return replace(x, value=value, scale=x.scale * highest / largest)


def formula(terms, x, grid, support):
    return attend(Case(terms, converted(x, torch.float64), grid, support), "reference")


@every_term_set
@every_call
@pytest.mark.parametrize(
    "highest", [60.0, *(pytest.param(n, marks=pytest.mark.slow) for n in (0.5, 200.0))]
)
@pytest.mark.parametrize("widths", [(8, 8), (8, 6)], ids=["equal widths", "other widths"])
def test_float32_errors_are_those_of_its_logits(terms, grid, support, highest, widths):
    x = scaled(terms, operands(terms, grid, widths=widths), grid, highest)
    x = converted(x, torch.float32)
    scores = logits(terms, converted(x, torch.float64), grid)
    allowed = 1e-5 + 4 * EPSILON * (scores.max() - scores.min())
    exact = formula(terms, x, grid, support)
    for method in ("reference", *applicable_methods(terms, grid, support.structure)):
        output = attend(Case(terms, x, grid, support), method)
        assert output.dtype == torch.float32
        assert (output - exact).abs().max() <= allowed, method


def output_and_grads(method, terms, x, grid, support, *, lowered):
    """The output and the gradients of all operands, as float64."""
    case = Case(terms, converted(x, torch.bfloat16, vectors=torch.float32), grid, support)
    if not lowered:
        case = replace(case, operands=converted(case.operands, torch.float64))
    for leaf in case.leaves:
        leaf.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=lowered):
        output = method(case)
    if lowered:
        assert output.dtype == torch.bfloat16
    gradients = torch.autograd.grad(
        output.double().square().sum(), case.leaves, allow_unused=True, materialize_grads=True
    )
    return [x.detach().double() for x in (output, *gradients)]


@every_term_set
@every_call
@pytest.mark.parametrize("highest", [pytest.param(4.0, marks=pytest.mark.slow), 20.0])
def test_under_autocast_no_method_is_less_precise_than_the_naive_formula(
    terms, grid, support, highest
):
    """Nor its gradients, beyond the effect of rounding the output."""
    x = scaled(terms, operands(terms, grid, widths=(8, 8)), grid, highest)
    call = terms, x, grid, support
    exact = output_and_grads(reference_attention, *call, lowered=False)
    naive = output_and_grads(naive_attention, *call, lowered=True)
    for method in ("auto", "reference", *applicable_methods(terms, grid, support.structure)):
        ours = output_and_grads(partial(attend, method=method), *call, lowered=True)
        for our, other, right in zip(ours, naive, exact, strict=True):
            allowed = 1.1 * (other - right).norm() + 2**-8 * right.norm()
            assert (our - right).norm() <= allowed, method


@pytest.mark.parametrize("grid", [Grid((9, 13), (9, 13)), Grid((1,), (300,), first_query=299)])
@pytest.mark.parametrize("terms", ["0110", "1111"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_the_reference_computes_half_precision_logits_in_float32(terms, grid, dtype):
    """So that the error is that of rounding the output."""
    terms, support = Term.parse(terms), Support()
    x = converted(scaled(terms, operands(terms, grid, widths=(32, 32)), grid, 60.0), dtype)
    exact = formula(terms, x, grid, support)
    output = attend(Case(terms, x, grid, support))
    assert (output - exact).norm() <= 0.51 * torch.finfo(dtype).eps * exact.norm()
