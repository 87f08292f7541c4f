from dataclasses import replace
from functools import partial

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention
from torch.testing import assert_close
from torch.utils._python_dispatch import TorchDispatchMode

from laws import Case, assert_same_attention, cases, convert_operands, operands
from quatrain.nn import AttentionSpec
from quatrain.ops.attention import attend, fused, plan
from quatrain.ops.attention.augmented import augmented_attention, sdpa_backends
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.specs import InputError, Term

fused_attention = partial(attend, method="fused")
APPLICABLE = [Term.parse("1000"), Term.parse("1010")]
every_term_set = pytest.mark.parametrize("terms", APPLICABLE, ids=str)
FLASH = "aten::_scaled_dot_product_flash_attention_for_cpu"
FALLBACK = {"aten::_softmax", "aten::_safe_softmax"}
WIDTHS = {"blockwise": (3, 2), "sdpa": (3, 3)}
"""Head widths of keys and values, by the kernel that takes them."""
either_kernel = pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS.keys())
every_type = pytest.mark.parametrize(
    "dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64]
)


class OperatorLog(TorchDispatchMode):
    """Records which operators ran, and the size of their largest output."""

    def __init__(self):
        super().__init__()
        self.largest = {}

    @property
    def names(self):
        return set(self.largest)

    def __torch_dispatch__(self, operator, types, arguments=(), named=None):
        output = operator(*arguments, **(named or {}))
        name, size = operator.name().split(".")[0], getattr(output, "numel", lambda: 0)()
        self.largest[name] = max(size, self.largest.get(name, 0))
        return output


@every_term_set
def test_an_autocast_does_not_lower_float32_operands(terms):
    grid = Grid((24, 25), (24, 25))
    x = convert_operands(operands(terms, grid, widths=(8, 8)), lambda x: x.detach().float())
    for method in (fused_attention, augmented_attention):
        expected = method(Case(terms, x, grid, Support()))
        with torch.autocast("cpu", torch.bfloat16):
            assert_close(method(Case(terms, x, grid, Support())), expected, rtol=0, atol=0)


def test_with_a_mask_cudnn_is_excluded():
    before = torch.backends.cuda.cudnn_sdp_enabled()
    with sdpa_backends(torch.ones(1, 1, 1, 4, dtype=torch.bool)):
        assert not torch.backends.cuda.cudnn_sdp_enabled()
        assert torch.backends.cuda.mem_efficient_sdp_enabled()
    with sdpa_kernel(SDPBackend.MATH), sdpa_backends(torch.ones(1, 1, 1, 4).bool()):
        assert torch.backends.cuda.math_sdp_enabled()
        assert not torch.backends.cuda.mem_efficient_sdp_enabled()
    with sdpa_backends(None):
        assert torch.backends.cuda.cudnn_sdp_enabled() == before


@settings(max_examples=40)
@given(st.sampled_from(list(WIDTHS.items())), st.data())
def test_it_agrees_with_the_reference_by_either_kernel(kernel_and_widths, data):
    kernel, widths = kernel_and_widths
    case = data.draw(cases(st.sampled_from(APPLICABLE), longest=7, widths=widths))
    structure = case.support.structure
    assert plan(case.terms, case.grid, structure, "fused", widths=widths).kernel == kernel
    assert_same_attention(fused_attention, reference_attention, case)


@every_term_set
@either_kernel
@pytest.mark.parametrize("null_key", [False, True])
def test_it_agrees_on_widely_spread_logits(terms, widths, null_key):
    grid = Grid((6,), (5,))
    x = operands(terms, grid, spread=40.0, widths=widths)
    case = Case(terms, x, grid, Support(null_key=null_key))
    assert_same_attention(fused_attention, reference_attention, case)


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
    x = operands(terms, grid, widths=widths)
    x = convert_operands(x, lambda x: x.detach().to(dtype).requires_grad_())
    case = Case(terms, x, grid, support)
    output = fused_attention(case)
    empty, filled = (output[:, :, 1], output[:, :, 2]) if mask == "attend_mask" else output
    assert output.dtype == dtype
    assert not empty.any()
    assert filled.any()
    for gradient in torch.autograd.grad(output.sum(), case.leaves):
        assert gradient.isfinite().all()


def test_torchs_kernel_falls_back_where_values_and_keys_differ_in_width():
    query, value = torch.randn(1, 2, 5, 4), torch.randn(1, 2, 5, 3)
    with OperatorLog() as log:
        scaled_dot_product_attention(query, query, value)
    assert FLASH not in log.names
    assert FALLBACK & log.names


CALLS = {
    "a map": (2, Structure(), {}),
    "a sequence": (1, Structure(), {}),
    "a causal sequence": (1, Structure(causal=True), {"causal": True}),
    "another sequence": (1, Structure(), {"key": torch.randn(2, 270, 8)}),
    "a null key": (1, Structure(null_key=True), {}),
    "a causal sequence with a null key": (
        1,
        Structure(causal=True, null_key=True),
        {"causal": True},
    ),
    "padded keys": (
        1,
        Structure(has_key_padding=True),
        {"key_padding_mask": torch.arange(300) > torch.tensor([[99], [299]])},
    ),
}


@every_term_set
@pytest.mark.parametrize(("ndim", "structure", "named"), CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
def test_planned_sdpa_runs_without_the_fallback(terms, ndim, structure, named, dtype):
    spec = AttentionSpec(terms=terms, heads=2, null_key=structure.null_key)
    module = spec.build(8, ndim).to(dtype)
    x = torch.randn((2, 8, 15, 20) if ndim == 2 else (2, 300, 8), dtype=dtype)
    named = {name: y.to(dtype) if name == "key" else y for name, y in named.items()}
    sizes = (15, 20) if ndim == 2 else (300,)
    keys = (270,) if "key" in named else sizes
    assert plan(terms, Grid(sizes, keys), structure).kernel == "sdpa"
    with torch.no_grad(), OperatorLog() as log:
        module(x, **named)
    assert FLASH in log.names
    with OperatorLog() as training_log:
        module(x.requires_grad_(), **named).square().sum().backward()
    assert {FLASH, f"{FLASH}_backward"} <= training_log.names
    assert not FALLBACK & (log.names | training_log.names)


@every_term_set
def test_strided_operands_do_not_cause_the_fallback(terms):
    grid = Grid((300,), (300,))
    x = operands(terms, grid, widths=(4, 4))
    strided = replace(x, query=x.query.mT.contiguous().mT, value=x.value.mT.contiguous().mT)
    with OperatorLog() as log:
        output = fused_attention(Case(terms, strided, grid, Support()))
    assert FLASH in log.names
    assert not FALLBACK & log.names
    assert_close(output, fused_attention(Case(terms, x, grid, Support())))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [Grid((5, 6), (5, 6)), Grid((70,), (50,)), Grid((9,), (9,))])
def test_without_gradients_biased_queries_exist_for_one_head_at_a_time(grid, dtype, monkeypatch):
    monkeypatch.setattr(fused, "MAX_BIASED_NUMBERS", 1)
    terms = Term.parse("1010")
    x = operands(terms, grid, heads=3, spread=4.0, widths=WIDTHS["sdpa"])
    x = convert_operands(x, lambda x: x.detach().to(dtype))
    support = Support(causal=grid.queries == (9,), null_key=grid.ndim == 1)
    with torch.no_grad(), OperatorLog() as log:
        output = fused_attention(Case(terms, x, grid, support))
    assert FLASH in log.names
    assert log.largest["aten::add"] == output.numel() // 3
    assert_close(output, reference_attention(Case(terms, x, grid, support)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("grid", [Grid((5, 6), (5, 6)), Grid((70,), (50,)), Grid((1,), (1,))])
@pytest.mark.parametrize("null_key", [False, True])
def test_without_gradients_e3_of_its_own_needs_no_channel(grid, dtype, null_key):
    terms = Term.parse("1010")
    x = operands(terms, grid, heads=3, spread=4.0, widths=WIDTHS["sdpa"], shared_keys=False)
    x = convert_operands(x, lambda x: x.detach().to(dtype))
    support = Support(null_key=null_key)
    with torch.no_grad(), OperatorLog() as log:
        output = fused_attention(Case(terms, x, grid, support))
    assert FLASH in log.names
    assert not FALLBACK & log.names
    assert ("aten::cat" in log.names) == null_key
    assert_close(output, reference_attention(Case(terms, x, grid, support)))


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")  # torch's own, for this mode
def test_a_tangent_of_e3_alone_is_refused_with_a_remedy():
    terms, grid = Term.parse("1010"), Grid((6,), (5,))
    x = operands(terms, grid, widths=WIDTHS["sdpa"], shared_keys=False)
    x = convert_operands(x, lambda x: x.detach())

    def attend_with(key_logit):
        return fused_attention(Case(terms, replace(x, key_logit=key_logit), grid, Support()))

    with pytest.raises(InputError, match='method = "reference"'):
        torch.func.jvp(attend_with, (x.key_logit,), (torch.ones_like(x.key_logit),))
