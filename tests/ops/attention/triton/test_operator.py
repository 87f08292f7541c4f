import types
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import (
    PLAIN,
    Case,
    assert_same_attention,
    cases,
    convert_operands,
    deterministic,
    operands,
)
from quatrain.ops.attention.reference import reference_attention
from quatrain.ops.attention.triton import key_logits
from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.attention.triton.operator import triton_attention
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError, Term

triton = pytest.importorskip("triton", reason="Triton is not installed")
APPLICABLE = [terms for terms in ALL_TERM_SETS if terms.use_position]
ALL = Term.parse("1111")
TILED = Grid((5, 9), (3, 35))
"""Rows of keys that take two tiles, and more queries than one tile has."""
SOME = [
    ALL,
    *(pytest.param(Term.parse(t), marks=pytest.mark.slow) for t in ("0110", "0011")),
]
SMALL = Grid((3, 4), (3, 4))
some_term_sets = pytest.mark.parametrize("terms", SOME, ids=str)


@settings(max_examples=5, deadline=None)
@given(
    cases(
        st.sampled_from(APPLICABLE),
        longest=5,
        ndims=(2,),
        leave_out=("attend_mask", "null_key"),
        **PLAIN,
    )
)
def test_it_agrees_with_the_reference(case):
    assert_same_attention(triton_attention, reference_attention, case)


@pytest.mark.slow
@pytest.mark.parametrize("terms", APPLICABLE, ids=str)
def test_it_agrees_over_several_tiles_of_widely_spread_logits(terms):
    case = Case(terms, operands(terms, TILED, spread=40.0, widths=(5, 18)), TILED, Support())
    assert_same_attention(triton_attention, reference_attention, case)


@pytest.mark.slow
@pytest.mark.parametrize("window", [1, 3, 9])
@pytest.mark.parametrize("repeatable", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_agrees_in_a_window_where_tiles_have_several_rows(window, repeatable, stride):
    """Also where queries between strided keys have no key, and outputs are zero."""
    terms, queries = Term.parse("1111"), (9, 13)
    grid = Grid(queries, tuple(-(-size // stride) for size in queries), stride)
    padding = torch.arange(grid.keys[0] * grid.keys[1]) >= torch.tensor([[9**3], [20]])
    support = Support(window=window, key_padding_mask=padding)
    case = Case(terms, operands(terms, grid, spread=40.0, widths=(5, 18)), grid, support)
    with deterministic(repeatable):
        assert_same_attention(triton_attention, reference_attention, case)


@some_term_sets
def test_operands_may_differ_in_type_from_values(terms, monkeypatch):
    monkeypatch.setattr(key_logits, "PARTS_DTYPE", torch.float32)
    x = operands(terms, SMALL, widths=(5, 18))
    mixed = replace(x, value=x.value.detach().half())
    output = triton_attention(Case(terms, mixed, SMALL, Support()))
    assert output.dtype == torch.float16
    expected = reference_attention(Case(terms, x, SMALL, Support()))
    assert (output - expected).norm() <= 0.01 * expected.norm()


@pytest.mark.slow
def test_masked_logits_do_not_overflow_in_16_bits(monkeypatch):
    """Tiles include rows of keys beyond the window of some of its queries."""
    monkeypatch.setattr(key_logits, "PARTS_DTYPE", torch.float32)
    terms, grid, support = Term.parse("1111"), Grid((9, 13), (9, 13)), Support(window=3)
    x = in_dtype(operands(terms, grid, spread=40.0, widths=(5, 18)), torch.float16)
    output = triton_attention(Case(terms, x, grid, support))
    right = reference_attention(Case(terms, in_dtype(x, torch.float64), grid, support))
    assert (output - right).norm() <= 0.01 * right.norm()
    assert all(x.isfinite().all() for x in torch.autograd.grad(output.sum(), (x.query, x.key)))


@some_term_sets
@pytest.mark.parametrize(
    ("grid", "heads"), [(SMALL, 1), pytest.param(TILED, 2, marks=pytest.mark.slow)], ids=str
)
def test_deterministic_gradients_agree(terms, grid, heads):
    keys = grid.keys[0] * grid.keys[1]
    padding = torch.arange(keys) >= torch.tensor([[5], [keys]])
    support = Support(key_padding_mask=padding)
    case = Case(terms, operands(terms, grid, heads=heads, widths=(5, 18)), grid, support)
    with deterministic():
        assert_same_attention(triton_attention, reference_attention, case)


def in_dtype(operands, dtype):
    """The operands as leaves of another type."""
    return convert_operands(operands, lambda x: x.detach().to(dtype).requires_grad_())


@pytest.mark.slow
@pytest.mark.parametrize("terms", ["1111", "0110"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_in_other_types_it_is_as_precise_as_the_reference(terms, dtype, monkeypatch):
    """Without bfloat16, whose bits the interpreter multiplies as integers."""
    monkeypatch.setattr(key_logits, "PARTS_DTYPE", torch.float32)
    terms = Term.parse(terms)
    case = Case(terms, operands(terms, TILED, widths=(16, 16)), TILED, Support())
    lower = Case(terms, in_dtype(case.operands, dtype), TILED, Support())

    def output_and_grads(method, case):
        output = method(Case(terms, case.operands, TILED, Support()))
        grads = torch.autograd.grad(output.double().square().sum(), case.leaves)
        return [x.double() for x in (output, *grads)]

    assert triton_attention(Case(terms, lower.operands, TILED, Support())).dtype == dtype
    exact = output_and_grads(reference_attention, case)
    ours = output_and_grads(triton_attention, lower)
    reference = output_and_grads(reference_attention, lower)
    for right, our, other in zip(exact, ours, reference, strict=True):
        assert (our - right).norm() <= 2 * (other - right).norm() + 1e-6 * right.norm()


@some_term_sets
def test_batch_elements_without_keys_have_zero_outputs_and_gradients(terms):
    grid = Grid((3, 4), (3, 4))
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[1] = True
    x = operands(terms, grid, heads=1)
    output = triton_attention(Case(terms, x, grid, Support(key_padding_mask=padding)))
    assert not output[1].any()
    assert output[0].all()
    (gradient,) = torch.autograd.grad(output.sum(), x.value)
    assert not gradient[1].any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("repeatable", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_nan_gradients_of_queries_without_keys_are_ignored(repeatable):
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    padding = torch.tensor([[False], [True]]).expand(2, 12)
    x = operands(terms, grid, heads=1)
    output = triton_attention(Case(terms, x, grid, Support(key_padding_mask=padding)))
    grad_output = torch.ones_like(output)
    grad_output[1] = torch.nan
    with deterministic(repeatable):
        grads = torch.autograd.grad(output, Case(terms, x, grid, Support()).leaves, grad_output)
    assert all(grad.isfinite().all() for grad in grads)


def test_arguments_that_kernels_would_misread_are_refused():
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    x = operands(terms, grid)
    with pytest.raises(SpecError) as caught:
        triton_attention(Case(terms, x, grid, Support()), axial=True)
    assert caught.value.field == "axial"
    elsewhere = torch.zeros(2, 12, dtype=torch.bool, device="meta")
    with pytest.raises(InputError) as caught:
        triton_attention(Case(terms, x, grid, Support(key_padding_mask=elsewhere)))
    assert "cpu and meta" in str(caught.value)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_a_nan_query_affects_only_its_own_output():
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    x = operands(terms, grid)
    with torch.no_grad():
        x.query[0, 1, 5, 0] = torch.nan
    output = triton_attention(Case(terms, x, grid, Support()))
    assert output[0, 1, 5].isnan().all()
    assert output.isnan().sum() == output.shape[-1]


class ValueAndQuery(torch.nn.Module):
    """Attention as a function of value and query alone."""

    def __init__(self):
        super().__init__()
        self.operands = convert_operands(operands(ALL, SMALL), torch.Tensor.detach)

    def forward(self, value, query):
        x, biases = self.operands, (self.operands.content_vector, self.operands.position_vector)
        return triton_attention(
            Case(ALL, Operands(value, query, x.key, *biases, x.relative), SMALL, Support())
        )


@pytest.mark.compile
def test_it_compiles_into_one_graph_and_exports():
    torch.compiler.reset()
    module = ValueAndQuery()
    inputs = tuple(
        x.clone().requires_grad_() for x in (module.operands.value, module.operands.query)
    )
    compiled = torch.compile(module, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*inputs), module(*inputs))
    assert_close(
        *(torch.autograd.grad(f(*inputs).square().sum(), inputs) for f in (compiled, module))
    )
    exported = torch.export.export(module, inputs)
    assert_close(exported.module()(*inputs), module(*inputs))


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of the check
@pytest.mark.parametrize(("terms", "axial"), [("1111", False), ("1001", False), ("0011", True)])
def test_the_operator_passes_opcheck(terms, axial):
    """Fake outputs have the shapes of real ones, and inputs are not changed."""
    terms, grid = Term.parse(terms), Grid((3, 4), (2, 2), 2)
    x = operands(terms, grid)
    biased = (x.value, x.query, x.key, x.content_vector, x.position_vector)
    padding, sizes = torch.zeros(2, 4, dtype=torch.bool), [3, 4, 2, 2, 2]
    rest = (padding, terms.value, x.scale, sizes, None, axial)
    torch.library.opcheck(triton_operator._triton_attention, (*biased, *x.relative, *rest))


class Windowed(torch.nn.Module):
    """0100 in a window of a map of any size; encodings are the relative positions."""

    def forward(self, x):
        grid = Grid(tuple(x.shape[2:]), tuple(x.shape[2:]))
        value = x.flatten(2).mT[:, None]
        positions = [grid.relative_tensor(axis, x.device).to(x.dtype) for axis in (0, 1)]
        relative = tuple(axis[None, :, None].expand(1, -1, x.shape[1]) / 9 for axis in positions)
        x = Operands(value, value, relative=relative)
        return triton_attention(Case(Term.QUERY_POSITION, x, grid, Support(window=3)))


@pytest.mark.slow
@pytest.mark.compile
@pytest.mark.parametrize("strict", [True, False])
def test_a_window_exports_for_maps_of_any_size(strict):
    size = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    small, large = (torch.randn(1, 4, *s, dtype=torch.float64) for s in ((5, 6), (8, 7)))
    exported = torch.export.export(Windowed(), (small,), dynamic_shapes=(size,), strict=strict)
    assert_close(exported.module()(large), Windowed()(large))


@pytest.mark.compile
def test_is_available_compiles():
    torch.compiler.reset()
    x = torch.ones(2)
    is_available = triton_operator.is_available
    compiled = torch.compile(
        lambda x: x + 1 if is_available() else x, fullgraph=True, backend="aot_eager"
    )
    assert_close(compiled(x), x + 1)


@pytest.fixture
def gpu(monkeypatch):
    """Pretend that there are GPUs of these compute capabilities, on which Triton starts."""

    def pretend(capabilities=((8, 0),), start=lambda: None, hip=None):
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(capabilities))
        monkeypatch.setattr(
            torch.cuda, "get_device_capability", lambda device: capabilities[device]
        )
        monkeypatch.setattr(torch.version, "hip", hip)
        active = types.SimpleNamespace(get_current_target=start)
        driver = types.SimpleNamespace(active=active)
        monkeypatch.setattr(triton.runtime, "driver", driver)

    return pretend


def test_it_is_available_where_triton_works_on_every_gpu(gpu):
    is_available = triton_operator._is_available.__wrapped__
    gpu()
    assert is_available()
    gpu(capabilities=((9, 0), (7, 5)))
    assert not is_available()
    gpu(hip="6.2")
    assert not is_available()


def test_a_triton_that_does_not_start_causes_a_warning(gpu):
    def start():
        raise RuntimeError("Failed to find C compiler")

    gpu(start=start)
    with pytest.warns(UserWarning, match="Failed to find C compiler"):
        assert not triton_operator._is_available.__wrapped__()
