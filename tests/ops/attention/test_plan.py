import math

import pytest
import torch
from torch.testing import assert_close

from laws import METHOD_TERMS, Case, applicable_methods, operands
from quatrain.ops.attention import attend, plan
from quatrain.ops.attention.plan import SMALL
from quatrain.ops.attention.triton import operator as triton_operator
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure, Support
from quatrain.specs import ALL_TERM_SETS, SpecError, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
ALL = Term.parse("1111")
MAP, SEQUENCE = Grid((30, 30), (30, 30)), Grid((SMALL[1],), (SMALL[1],))


def automatic_methods(grid, structure=FULL_SUPPORT):
    return {str(t): plan(t, grid, structure).method for t in ALL_TERM_SETS}


def kernel(terms, grid, structure=FULL_SUPPORT, **options):
    return plan(terms, grid, structure, **options).kernel


@pytest.fixture
def with_triton(monkeypatch):
    monkeypatch.setattr(triton_operator, "is_available", lambda: True)


def test_on_a_large_map_the_terms_decide_the_method():
    methods = automatic_methods(MAP)
    assert {t for t, m in methods.items() if m == "pooled"} == {"0000", "0010"}
    assert {t for t, m in methods.items() if m == "separable"} == {"0001", "0011"}
    assert {t for t, m in methods.items() if m == "factored"} == {"0100", "0101", "0110", "0111"}
    assert {m for t, m in methods.items() if t[0] == "1"} == {"fused"}


def test_a_joint_table_of_e4_leaves_blocks_of_queries():
    methods = {str(t): plan(t, MAP, joint_table=True).method for t in ALL_TERM_SETS}
    expected = automatic_methods(MAP).items()
    assert methods == {terms: "fused" if terms[3] == "1" else name for terms, name in expected}
    assert kernel(ALL, MAP, method="fused", device="cuda", joint_table=True) == "blockwise"
    with pytest.raises(SpecError, match="joint table"):
        plan(Term.POSITION, MAP, method="separable", joint_table=True)


def test_an_attend_mask_leaves_the_fused_method():
    assert set(automatic_methods(MAP, Structure(has_attn_mask=True)).values()) == {"fused"}


def test_on_a_long_sequence_only_0000_and_0010_are_pooled():
    methods = automatic_methods(SEQUENCE, Structure(causal=True))
    assert {t for t, m in methods.items() if m == "pooled"} == {"0000", "0010"}
    assert {m for t, m in methods.items() if t not in ("0000", "0010")} == {"fused"}


def test_few_pairs_and_single_queries_take_the_reference():
    for grid in (Grid((16,), (16,)), Grid((22, 22), (22, 22)), Grid((1,), (SMALL[1] + 1,))):
        assert automatic_methods(grid)["1111"] == "reference"


@pytest.mark.parametrize("structure", [Structure(window=3), Structure(has_attn_mask=True)])
def test_sdpa_is_not_used_where_it_needs_a_mask_of_all_pairs(structure):
    terms = Term.parse("1000")
    assert kernel(terms, SEQUENCE, structure) == "blockwise"
    assert kernel(terms, SEQUENCE) == "sdpa"
    assert kernel(terms, SEQUENCE, Structure(causal=True)) == "sdpa"
    assert kernel(terms, SEQUENCE, widths=(3, 2)) == "blockwise"


def test_on_a_gpu_triton_computes_positions_on_maps_without_an_attend_mask(with_triton):
    kernels = {str(t): kernel(t, MAP, device="cuda") for t in ALL_TERM_SETS}
    assert kernels["0110"] == kernels["1111"] == kernels["0011"] == "triton"
    assert kernels["1000"] == "sdpa"
    assert kernels["0010"] is None
    assert kernel(ALL, MAP, Structure(window=3), device="cuda") == "triton"
    large, masked = Grid((33, 33), (33, 33)), Structure(has_attn_mask=True)
    assert kernel(ALL, large, masked, device="cuda") == "blockwise"
    assert kernel(ALL, SEQUENCE, device="cuda") == "blockwise"


def test_triton_does_not_take_biases_beyond_32_bit_indices(with_triton):
    for sizes, expected in (((64, 5792), "triton"), ((64, 5793), "augmented")):
        assert kernel(ALL, Grid(sizes, sizes), device="cuda") == expected
    assert kernel(Term.parse("0011"), Grid((64, 5793), (64, 5793)), device="cuda") is None


def test_head_widths_include_encodings_wider_than_values(with_triton):
    terms, grid = Term.parse("0100"), Grid((24, 25), (24, 25))
    widths = operands(terms, grid, widths=(512, 32)).head_widths
    assert widths == (512, 32)
    assert kernel(terms, grid, device="cuda", widths=widths) == "augmented"


def test_a_null_key_changes_no_method_but_that_of_one_query_and_the_kernel_of_a_gpu(with_triton):
    null_key = Structure(null_key=True)
    assert automatic_methods(MAP, null_key) == automatic_methods(MAP)
    assert kernel(ALL, MAP, null_key, device="cuda") == "augmented"
    terms, step = Term.parse("1000"), Grid((1,), (300,), first_query=299)
    assert kernel(terms, SEQUENCE, Structure(causal=True, null_key=True)) == "sdpa"
    assert [plan(terms, step, each).method for each in (FULL_SUPPORT, null_key)] == [
        "fused",
        "reference",
    ]


def test_queries_of_a_beam_leave_the_reference_where_fused_is_a_loop_over_blocks():
    step = Grid((1,), (SMALL[1] + 1,), first_query=7)
    with pytest.raises(SpecError, match=r'"1111" .* queries of a beam; use "auto" or "reference"'):
        plan(ALL, step, method="fused", beam=True)
    assert plan(ALL, step, method="fused").kernel == "blockwise"
    chosen = plan(ALL, step, beam=True)
    assert (chosen.method, chosen.kernel) == ("reference", None)
    assert "beam" in chosen.reason
    assert kernel(Term.parse("1000"), step, method="fused", beam=True) == "sdpa"
    assert plan(Term.parse("0010"), step, beam=True).method == "pooled"


def test_a_gpu_takes_the_reference_for_larger_maps_where_only_blocks_apply():
    options = {"terms": Term.parse("0100"), "structure": Structure(window=7), "double": True}
    methods = {
        (device, size): plan(grid=Grid((size, size), (size, size)), device=device, **options).method
        for device in ("cpu", "cuda")
        for size in (22, 23, 32, 33)
    }
    assert [methods["cpu", size] for size in (22, 23)] == ["reference", "factored"]
    assert [methods["cuda", size] for size in (32, 33)] == ["reference", "factored"]


def test_where_triton_does_not_apply_a_gpu_augments(with_triton, monkeypatch):
    assert kernel(ALL, MAP, device="cuda", widths=(128, 128)) == "triton"
    assert kernel(ALL, MAP, device="cuda", widths=(129, 8)) == "augmented"
    assert kernel(ALL, MAP, device="xpu") == "augmented"
    assert kernel(ALL, MAP, device="cuda", plain=False) == "augmented"
    assert kernel(Term.parse("1000"), MAP, device="cuda", widths=(8, 5)) == "augmented"
    monkeypatch.setattr(triton_operator, "is_available", lambda: False)
    assert kernel(ALL, MAP, device="cuda") == "augmented"


@pytest.mark.parametrize("terms", ["1000", "1111"])
def test_float64_on_a_gpu_is_left_to_blocks(terms):
    terms, grid = Term.parse(terms), Grid((64, 64), (64, 64))
    assert kernel(terms, grid, device="cuda") != "blockwise"
    assert kernel(terms, grid, device="cuda", double=True) == "blockwise"
    assert plan(terms, grid, double=True) == plan(terms, grid)


@every_term_set
def test_a_plan_has_a_reason(terms):
    assert len(plan(terms, MAP).reason.split()) > 3


@every_term_set
@pytest.mark.parametrize("method", ["reference", "pooled", "separable", "factored", "fused"])
def test_a_forced_method_is_used_or_refused_but_never_replaced(terms, method):
    applies = method in ("reference", "fused") or plan(terms, MAP).method == method
    applies = applies or (method == "separable" and not terms.use_query)
    if applies:
        assert plan(terms, MAP, method=method).method == method
        return
    with pytest.raises(SpecError) as caught:
        plan(terms, MAP, method=method)
    assert caught.value.field == "method"


@every_term_set
@pytest.mark.parametrize("device", ["cpu", "cuda"])
@pytest.mark.parametrize("window", [None, 3])
def test_a_portable_plan_has_operators_of_torch_only(terms, device, window):
    for grid in (MAP, Grid((300,), (300,))):
        chosen = plan(terms, grid, Structure(window=window), device=device, portable=True)
        assert chosen.method in ("reference", "pooled", "separable") or chosen.kernel == "sdpa"
        assert chosen.kernel in (None, "sdpa")
        again = plan(terms, grid, Structure(window=window), chosen.method, portable=True)
        assert (again.method, again.kernel) == (chosen.method, chosen.kernel)


@pytest.mark.parametrize(("terms", "method"), [("0110", "factored"), ("1111", "fused")])
def test_a_portable_plan_refuses_a_custom_operator(terms, method):
    with pytest.raises(SpecError, match="ONNX") as caught:
        plan(Term.parse(terms), MAP, method=method, portable=True)
    assert caught.value.field == "method"
    assert plan(Term.parse(terms), MAP, method="reference", portable=True).method == "reference"


@every_term_set
def test_attend_agrees_with_the_reference(terms):
    grid = Grid((3,), (4,))
    x = operands(terms, grid)
    automatic = attend(Case(terms, x, grid, Support(causal=True)))
    assert_close(automatic, attend(Case(terms, x, grid, Support(causal=True)), "reference"))


@pytest.mark.parametrize("terms", METHOD_TERMS, ids=str)
@pytest.mark.parametrize("grid", [Grid((300,), (300,)), Grid((24, 24), (24, 24))])
def test_an_empty_batch_gives_an_empty_batch_by_every_method(terms, grid):
    x = operands(terms, grid, batch=0, widths=(4, 4))
    for method in ("auto", "reference", *applicable_methods(terms, grid, Structure())):
        output = attend(Case(terms, x, grid, Support()), method)
        assert output.shape == (0, 2, math.prod(grid.queries), 4)
        torch.autograd.grad(output.sum(), Case(terms, x, grid, Support()).leaves, allow_unused=True)
