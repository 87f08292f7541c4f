from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from laws import Case, assert_same_attention, cases, operands
from quatrain.nn import AttentionSpec
from quatrain.ops.attention import augmented, fused, plan, reference
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.ops.terms import Operands
from quatrain.specs import Term

SERVED = [Term.parse("1000"), Term.parse("1010")]
every_term_set = pytest.mark.parametrize("terms", SERVED, ids=str)
FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"
FALLBACK = {"aten::_softmax", "aten::_safe_softmax"}
WIDTHS = {"blockwise": (3, 2), "sdpa": (3, 3)}
"""Of keys and values, by the kernel that serves them."""
either_kernel = pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS.keys())
every_type = pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64]
)


class Watch(TorchDispatchMode):
    """Remembers which operators ran, and how many numbers they gave at most."""

    def __init__(self):
        super().__init__()
        self.largest = {}

    @property
    def seen(self):
        return set(self.largest)

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        made = operator(*arguments, **(named or {}))
        name, size = operator.name().split(".")[0], getattr(made, "numel", lambda: 0)()
        self.largest[name] = max(size, self.largest.get(name, 0))
        return made


@every_term_set
def test_an_autocast_does_not_lower_operands_that_are_exact(terms):
    grid = Grid((24, 25), (24, 25))
    made = operands(terms, grid, widths=(8, 8))
    exact = Operands(**{name: lowered(x) for name, x in vars(made).items()})
    for attend in (fused.attend, augmented.attend):
        expected = attend(terms, exact, grid, Support())
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(attend(terms, exact, grid, Support()), expected, rtol=0, atol=0)


def lowered(x):
    return x.detach().float() if isinstance(x, torch.Tensor) else x


def test_cudnn_is_not_asked_for_what_a_mask_leaves_out():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with augmented.kernels_for(torch.ones(1, 1, 1, 4, dtype=torch.bool)):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
    with sdpa_kernel(SDPBackend.MATH), augmented.kernels_for(torch.ones(1, 1, 1, 4).bool()):
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    with augmented.kernels_for(None):
        assert torch.backends.cuda.cudnn_sdp_enabled() == before


@settings(max_examples=60)
@given(st.sampled_from(list(WIDTHS.items())), st.data())
def test_it_agrees_with_the_reference_in_value_and_gradient_by_either_kernel(chosen, data):
    kernel, widths = chosen
    terms, asked = data.draw(cases(st.sampled_from(SERVED), longest=7, widths=widths))
    structure = asked.support.structure
    assert plan(terms, asked.grid, structure, "fused", widths=widths).kernel == kernel
    assert_same_attention(fused.attend, reference.attend, terms, asked)


@every_term_set
@either_kernel
def test_it_agrees_on_logits_far_apart(terms, widths):
    grid = Grid((6,), (5,))
    case = Case(operands(terms, grid, spread=40.0, widths=widths), grid, Support())
    assert_same_attention(fused.attend, reference.attend, terms, case)


@every_term_set
@every_type
@either_kernel
@pytest.mark.parametrize("mask", ["attend_mask", "key_padding_mask"])
def test_rows_without_any_key_are_zero_with_finite_gradients(terms, dtype, widths, mask):
    grid = Grid((3,), (4,))
    support = {
        "attend_mask": Support(attend_mask=torch.tensor([[True] * 4, [False] * 4, [True] * 4])),
        "key_padding_mask": Support(key_padding_mask=torch.tensor([[True] * 4, [False] * 4])),
    }[mask]
    made = operands(terms, grid, widths=widths)
    lower = {
        name: value.detach().to(dtype).requires_grad_()
        for name, value in vars(made).items()
        if isinstance(value, torch.Tensor)
    }
    output = fused.attend(terms, type(made)(**lower), grid, support)
    empty, filled = (output[:, :, 1], output[:, :, 2]) if mask == "attend_mask" else output
    assert output.dtype == dtype
    assert not empty.any()
    assert filled.any()
    for gradient in torch.autograd.grad(output.sum(), lower.values()):
        assert gradient.isfinite().all()


def test_torchs_kernel_needs_values_as_wide_as_keys_or_holds_all_weights():
    query, value = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 3)
    with Watch() as watch:
        scaled_dot_product_attention(query, query, value)
    assert FLASH not in watch.seen
    assert FALLBACK & watch.seen


CALLS = {
    "a map": (2, Structure(), {}),
    "a sequence": (1, Structure(), {}),
    "a causal sequence": (1, Structure(causal=True), {"causal": True}),
    "another sequence": (1, Structure(), {"key": torch.randn(2, 270, 8)}),
    "padded keys": (
        1,
        Structure(has_key_padding=True),
        {"key_padding_mask": torch.arange(300) > torch.tensor([[99], [299]])},
    ),
}


@every_term_set
@pytest.mark.parametrize(("ndim", "structure", "named"), CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_where_the_plan_says_so_torchs_kernel_runs_and_no_fallback(
    terms, ndim, structure, named, dtype
):
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim).to(dtype)
    x = torch.randn((2, 8, 15, 20) if ndim == 2 else (2, 300, 8), dtype=dtype)
    named = {name: y.to(dtype) if name == "key" else y for name, y in named.items()}
    sizes = (15, 20) if ndim == 2 else (300,)
    keys = (270,) if "key" in named else sizes
    assert plan(terms, Grid(sizes, keys), structure).kernel == "sdpa"
    with torch.no_grad(), Watch() as watch:
        module(x, **named)
    assert FLASH in watch.seen
    with Watch() as learning:
        module(x.requires_grad_(), **named).square().sum().backward()
    assert {FLASH, f"{FLASH}_backward"} <= learning.seen
    assert not FALLBACK & (watch.seen | learning.seen)


@every_term_set
def test_operands_whose_last_axis_is_not_contiguous_do_not_make_torchs_kernel_give_way(terms):
    grid = Grid((300,), (300,))
    made = operands(terms, grid, widths=(4, 4))
    turned = replace(made, query=made.query.mT.contiguous().mT, value=made.value.mT.contiguous().mT)
    with Watch() as watch:
        output = fused.attend(terms, turned, grid, Support())
    assert FLASH in watch.seen
    assert not FALLBACK & watch.seen
    torch.testing.assert_close(output, fused.attend(terms, made, grid, Support()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [Grid((5, 6), (5, 6)), Grid((70,), (50,)), Grid((9,), (9,))])
def test_without_gradients_many_biased_queries_are_made_for_one_head_at_a_time(
    grid, dtype, monkeypatch
):
    monkeypatch.setattr(fused, "LARGE", 1)
    terms = Term.parse("1010")
    made = operands(terms, grid, heads=3, spread=4.0, widths=WIDTHS["sdpa"])
    lower = {
        name: value.detach().to(dtype)
        for name, value in vars(made).items()
        if isinstance(value, torch.Tensor)
    }
    asked = type(made)(**lower, scale=made.scale)
    support = Support(causal=grid.queries == (9,))
    with torch.no_grad(), Watch() as watch:
        found = fused.attend(terms, asked, grid, support)
    assert FLASH in watch.seen
    assert watch.largest["aten::add"] == found.numel() // 3
    torch.testing.assert_close(found, reference.attend(terms, asked, grid, support))
