"""The kernel of a GPU, interpreted: where there is a GPU, the tests of devices hold it itself."""

import os
import types
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close

from laws import Case, assert_same_attention, cases, operands, repeating
from quatrain.ops.attention import reference
from quatrain.ops.attention.triton import key_bias as key_logits
from quatrain.ops.attention.triton import operator as tiles
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import ALL_TERM_SETS, InputError, SpecError, Term

triton = pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]
SERVED = [terms for terms in ALL_TERM_SETS if terms.use_position]
every_term_set = pytest.mark.parametrize("terms", SERVED, ids=str)
ALL, ALONE = Term.parse("1111"), Term.QUERY_POSITION
LINES = Grid((5, 9), (3, 35))
"""Rows of keys that take two tiles, and more queries than one tile holds."""


@settings(max_examples=20, deadline=None)
@given(cases(st.sampled_from(SERVED), longest=5, ndims=(2,), leave_out=("attend_mask",)))
def test_it_agrees_with_the_reference_in_value_and_gradient(case):
    terms, asked = case
    assert_same_attention(tiles.triton_attention, reference.attend, terms, asked)


@every_term_set
def test_it_agrees_where_a_map_takes_several_tiles_and_logits_are_far_apart(terms):
    case = Case(operands(terms, LINES, spread=40.0, widths=(5, 18)), LINES, Support())
    assert_same_attention(tiles.triton_attention, reference.attend, terms, case)


@pytest.mark.parametrize("window", [1, 3, 9])
@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("stride", [1, 2])
def test_it_agrees_in_a_window_where_tiles_have_queries_of_several_rows(window, ordered, stride):
    """Also where queries between keys have no key, whose outputs are zero."""
    terms, queries = Term.parse("1111"), (9, 13)
    grid = Grid(queries, tuple(-(-size // stride) for size in queries), stride)
    padding = torch.arange(grid.keys[0] * grid.keys[1]) >= torch.tensor([[9**3], [20]])
    support = Support(window=window, key_padding_mask=padding)
    case = Case(operands(terms, grid, spread=40.0, widths=(5, 18)), grid, support)
    with repeating(ordered):
        assert_same_attention(tiles.triton_attention, reference.attend, terms, case)


@every_term_set
def test_operands_may_differ_in_type_from_values(terms, monkeypatch):
    monkeypatch.setattr(key_logits, "OF_PARTS", torch.float32)
    made = operands(terms, LINES, widths=(5, 18))
    mixed = replace(made, value=made.value.detach().half())
    found = tiles.triton_attention(terms, mixed, LINES, Support())
    assert found.dtype == torch.float16
    right = reference.attend(terms, made, LINES, Support())
    assert (found - right).norm() <= 0.01 * right.norm()


def test_no_weight_of_a_window_is_too_large_for_16_bits(monkeypatch):
    """A tile meets rows of keys that some of its queries do not reach."""
    monkeypatch.setattr(key_logits, "OF_PARTS", torch.float32)
    terms, grid, support = Term.parse("1111"), Grid((9, 13), (9, 13)), Support(window=3)
    made = lowered(operands(terms, grid, spread=40.0, widths=(5, 18)), torch.float16)
    output = tiles.triton_attention(terms, made, grid, support)
    right = reference.attend(terms, lowered(made, torch.float64), grid, support)
    assert (output - right).norm() <= 0.01 * right.norm()
    assert all(
        x.isfinite().all() for x in torch.autograd.grad(output.sum(), (made.query, made.key))
    )


@every_term_set
def test_it_agrees_where_gradients_must_repeat_bit_for_bit(terms):
    padding = torch.arange(105) >= torch.tensor([[50], [105]])
    support = Support(key_padding_mask=padding)
    case = Case(operands(terms, LINES, widths=(5, 18)), LINES, support)
    with repeating():
        assert_same_attention(tiles.triton_attention, reference.attend, terms, case)


def lowered(made, dtype):
    """The operands as leaves of another type."""
    named = {n: x for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
    lower = {name: x.detach().to(dtype).requires_grad_() for name, x in named.items()}
    relative = tuple(axis.detach().to(dtype).requires_grad_() for axis in made.relative)
    return type(made)(**lower, relative=relative, scale=made.scale)


@pytest.mark.parametrize("terms", ["1111", "0110"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_in_other_types_it_is_no_worse_than_the_reference(terms, dtype, monkeypatch):
    """But for bfloat16, of which the interpreter multiplies the bits as if they were integers."""
    monkeypatch.setattr(key_logits, "OF_PARTS", torch.float32)
    terms = Term.parse(terms)
    case = Case(operands(terms, LINES, widths=(16, 16)), LINES, Support())
    lower = Case(lowered(case.operands, dtype), LINES, Support())

    def outcome(method, case):
        output = method(terms, case.operands, LINES, Support())
        slopes = torch.autograd.grad(output.double().square().sum(), case.leaves)
        return [each.double() for each in (output, *slopes)]

    assert tiles.triton_attention(terms, lower.operands, LINES, Support()).dtype == dtype
    exact = outcome(reference.attend, case)
    mine, theirs = outcome(tiles.triton_attention, lower), outcome(reference.attend, lower)
    for right, found, other in zip(exact, mine, theirs, strict=True):
        assert (found - right).norm() <= 2 * (other - right).norm() + 1e-6 * right.norm()


@every_term_set
def test_batch_elements_without_any_key_are_zero_with_zero_gradients(terms):
    grid = Grid((3, 4), (3, 4))
    padding = torch.zeros(2, 12, dtype=torch.bool)
    padding[1] = True
    made = operands(terms, grid)
    output = tiles.triton_attention(terms, made, grid, Support(key_padding_mask=padding))
    assert not output[1].any()
    assert output[0].all()
    (gradient,) = torch.autograd.grad(output.sum(), made.value)
    assert not gradient[1].any()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_queries_without_any_key_give_nothing_whatever_their_gradient_is(ordered):
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    padding = torch.tensor([[False], [True]]).expand(2, 12)
    made = operands(terms, grid)
    output = tiles.triton_attention(terms, made, grid, Support(key_padding_mask=padding))
    given = torch.ones_like(output)
    given[1] = torch.nan
    with repeating(ordered):
        found = torch.autograd.grad(output, Case(made, grid, Support()).leaves, given)
    assert all(each.isfinite().all() for each in found)


def test_what_kernels_would_misread_is_refused():
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    made = operands(terms, grid)
    with pytest.raises(SpecError, match=r'by_lines is True.*"1111"'):
        tiles.triton_attention(terms, made, grid, Support(), axial=True)
    elsewhere = torch.zeros(2, 12, dtype=torch.bool, device="meta")
    with pytest.raises(InputError, match=r"on cpu and meta.*one device"):
        tiles.triton_attention(terms, made, grid, Support(key_padding_mask=elsewhere))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # of the interpreter
def test_what_is_not_a_number_stays_where_it_was():
    terms, grid = Term.parse("1111"), Grid((3, 4), (3, 4))
    made = operands(terms, grid)
    with torch.no_grad():
        made.query[0, 1, 5, 0] = torch.nan
    output = tiles.triton_attention(terms, made, grid, Support())
    assert output[0, 1, 5].isnan().all()
    assert output.isnan().sum() == output.shape[-1]


class Called(torch.nn.Module):
    """Attention to the grid `LINES`, of a value and a query alone."""

    def __init__(self):
        super().__init__()
        made = operands(ALL, LINES)
        named = {n: x.detach() for n, x in vars(made).items() if isinstance(x, torch.Tensor)}
        self.made = type(made)(**named, relative=tuple(axis.detach() for axis in made.relative))

    def forward(self, value, query):
        made, biases = self.made, (self.made.key_bias, self.made.position_bias)
        asked = Operands(value, query, made.key, *biases, made.relative)
        return tiles.triton_attention(ALL, asked, LINES, Support())


@pytest.mark.compile
def test_it_compiles_into_one_graph_and_exports():
    torch.compiler.reset()
    called = Called()
    given = tuple(x.clone().requires_grad_() for x in (called.made.value, called.made.query))
    compiled = torch.compile(called, fullgraph=True, backend="aot_eager")
    assert_close(compiled(*given), called(*given))
    slopes = [torch.autograd.grad(how(*given).square().sum(), given) for how in (compiled, called)]
    assert_close(*slopes)
    exported = torch.export.export(called, given)
    assert_close(exported.module()(*given), called(*given))


@pytest.mark.compile
@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # torch's own, of the check
@pytest.mark.parametrize(("terms", "by_lines"), [("1111", False), ("1001", False), ("0011", True)])
def test_the_operator_keeps_the_rules_of_operators(terms, by_lines):
    """Torch's own: what it announces to compilers is what it makes, and inputs stay as they are."""
    terms, grid = Term.parse(terms), Grid((3, 4), (2, 2), 2)
    made = operands(terms, grid)
    biased = (made.value, made.query, made.key, made.key_bias, made.position_bias)
    padding, sizes = torch.zeros(2, 4, dtype=torch.bool), [3, 4, 2, 2, 2]
    rest = (padding, terms.value, made.scale, sizes, None, by_lines)
    torch.library.opcheck(tiles._attend, (*biased, *made.relative, *rest))


class Windowed(torch.nn.Module):
    """0100 in a window of a map of any size, whose encodings are its offsets."""

    def forward(self, x):
        grid = Grid(tuple(x.shape[2:]), tuple(x.shape[2:]))
        value = x.flatten(2).mT[:, None]
        offsets = [grid.offset_tensor(axis, x.device).to(x.dtype) for axis in (0, 1)]
        relative = tuple(axis[None, :, None].expand(1, -1, x.shape[1]) / 9 for axis in offsets)
        made = Operands(value, value, relative=relative)
        return tiles.triton_attention(ALONE, made, grid, Support(window=3))


@pytest.mark.compile
@pytest.mark.parametrize("strict", [True, False])
def test_a_window_exports_for_maps_of_any_size(strict):
    size = {2: torch.export.Dim("height", min=2), 3: torch.export.Dim("width", min=2)}
    small, large = (torch.randn(1, 4, *s, dtype=torch.float64) for s in ((5, 6), (8, 7)))
    exported = torch.export.export(Windowed(), (small,), dynamic_shapes=(size,), strict=strict)
    assert_close(exported.module()(large), Windowed()(large))


@pytest.mark.compile
def test_whether_it_is_there_does_not_stop_the_compiler():
    torch.compiler.reset()
    x = torch.ones(2)
    compiled = torch.compile(
        lambda x: x + 1 if tiles.is_available() else x, fullgraph=True, backend="aot_eager"
    )
    assert_close(compiled(x), x + 1)


@pytest.fixture
def gpu(monkeypatch):
    """A GPU of compute capability 8.0, where Triton starts, unless told otherwise."""

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


def test_tiles_serve_where_triton_serves_every_gpu(gpu):
    asked = tiles._is_available.__wrapped__
    gpu()
    assert asked()
    gpu(capabilities=((9, 0), (7, 5)))
    assert not asked()
    gpu(hip="6.2")
    assert not asked()


def test_that_triton_does_not_start_is_said(gpu):
    def start():
        raise RuntimeError("Failed to find C compiler")

    gpu(start=start)
    with pytest.warns(
        UserWarning, match="Triton does not start .Failed to find C compiler.*products"
    ):
        assert not tiles._is_available.__wrapped__()
