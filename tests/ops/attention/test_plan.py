import math

import pytest
import torch
from torch.testing import assert_close

from laws import Case, fitting_methods, operands
from quatrain.ops.attention import attend, plan
from quatrain.ops.attention.plan import SMALL
from quatrain.ops.attention.triton import operator as tiles
from quatrain.ops.positions import Grid
from quatrain.ops.support import FULL_SUPPORT, Structure, Support
from quatrain.specs import ALL_TERM_SETS, SpecError, Term

every_term_set = pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
MAP, LINE = Grid((30, 30), (30, 30)), Grid((SMALL[1],), (SMALL[1],))
WIDE = Grid((33, 33), (33, 33))


def chosen(grid, structure=FULL_SUPPORT, **asked):
    return {str(t): plan(t, grid, structure, **asked).method for t in ALL_TERM_SETS}


def test_on_a_large_map_the_terms_decide():
    by_terms = chosen(MAP)
    assert {t for t, m in by_terms.items() if m == "pooled"} == {"0000", "0010"}
    assert {t for t, m in by_terms.items() if m == "separable"} == {"0001", "0011"}
    assert {t for t, m in by_terms.items() if m == "factored"} == {"0100", "0101", "0110", "0111"}
    assert {m for t, m in by_terms.items() if t[0] == "1"} == {"fused"}


def test_an_attend_mask_leaves_the_fused_method():
    assert set(chosen(MAP, Structure(has_attn_mask=True)).values()) == {"fused"}


def test_on_a_long_sequence_only_what_needs_no_query_and_place_is_pooled():
    by_terms = chosen(LINE, Structure(causal=True))
    assert {t for t, m in by_terms.items() if m == "pooled"} == {"0000", "0010"}
    assert {m for t, m in by_terms.items() if t not in ("0000", "0010")} == {"fused"}


def test_a_sentence_a_small_map_and_a_single_query_are_left_to_the_formula():
    for grid in (Grid((16,), (16,)), Grid((22, 22), (22, 22)), Grid((1,), (SMALL[1] + 1,))):
        assert chosen(grid)["1111"] == "reference"


@pytest.mark.parametrize("structure", [Structure(window=3), Structure(has_attn_mask=True)])
def test_torchs_kernel_is_not_asked_for_what_it_would_need_a_mask_of_all_pairs_for(structure):
    assert plan(Term.parse("1000"), LINE, structure).kernel == "blockwise"
    assert plan(Term.parse("1000"), LINE).kernel == "sdpa"
    assert plan(Term.parse("1000"), LINE, Structure(causal=True)).kernel == "sdpa"
    assert plan(Term.parse("1000"), LINE, widths=(3, 2)).kernel == "blockwise"


def test_on_a_gpu_tiles_take_positions_on_maps_where_no_mask_picks_pairs(monkeypatch):
    monkeypatch.setattr(tiles, "is_available", lambda: True)
    by_terms = {str(t): plan(t, MAP, device="cuda").kernel for t in ALL_TERM_SETS}
    assert by_terms["0110"] == by_terms["1111"] == "triton"
    assert by_terms["1000"] == "sdpa"
    assert by_terms["0011"] == "triton"  # separable, whose sums it takes
    assert by_terms["0010"] is None
    assert plan(Term.parse("1111"), MAP, Structure(window=3), device="cuda").kernel == "triton"
    assert (
        plan(Term.parse("1111"), WIDE, Structure(has_attn_mask=True), device="cuda").kernel
        == "blockwise"
    )
    assert plan(Term.parse("1111"), LINE, device="cuda").kernel == "blockwise"


def test_tiles_are_not_asked_for_tables_that_32_bits_cannot_count(monkeypatch):
    monkeypatch.setattr(tiles, "is_available", lambda: True)
    for sizes, kernel in (((64, 5792), "triton"), ((64, 5793), "augmented")):
        assert plan(Term.parse("1111"), Grid(sizes, sizes), device="cuda").kernel == kernel
    grid = Grid((64, 5793), (64, 5793))
    assert plan(Term.parse("0011"), grid, device="cuda").kernel is None


def test_encodings_wider_than_values_count_as_wide(monkeypatch):
    monkeypatch.setattr(tiles, "is_available", lambda: True)
    grid = Grid((24, 25), (24, 25))
    made = operands(Term.parse("0100"), grid, widths=(512, 32))
    assert made.widths == (512, 32)
    assert plan(Term.parse("0100"), grid, device="cuda", widths=made.widths).kernel == "augmented"


def test_a_gpu_leaves_larger_maps_to_the_formula_than_a_cpu_does_where_tiles_do_not_serve():
    asked = {"terms": Term.parse("0100"), "structure": Structure(window=7), "double": True}
    methods = {
        (device, size): plan(grid=Grid((size, size), (size, size)), device=device, **asked).method
        for device in ("cpu", "cuda")
        for size in (22, 23, 32, 33)
    }
    assert [methods["cpu", size] for size in (22, 23)] == ["reference", "factored"]
    assert [methods["cuda", size] for size in (32, 33)] == ["reference", "factored"]


def test_where_tiles_do_not_serve_positions_become_channels_on_a_gpu(monkeypatch):
    terms = Term.parse("1111")
    monkeypatch.setattr(tiles, "is_available", lambda: True)
    assert plan(terms, MAP, device="cuda", widths=(128, 128)).kernel == "triton"
    assert plan(terms, MAP, device="cuda", widths=(129, 8)).kernel == "augmented"
    assert plan(terms, MAP, device="xpu").kernel == "augmented"
    assert plan(Term.parse("1000"), MAP, device="cuda", widths=(8, 5)).kernel == "augmented"
    monkeypatch.setattr(tiles, "is_available", lambda: False)
    assert plan(terms, MAP, device="cuda").kernel == "augmented"


@every_term_set
def test_a_plan_says_why(terms):
    assert len(plan(terms, MAP).reason.split()) > 3


@every_term_set
@pytest.mark.parametrize("method", ["reference", "pooled", "separable", "factored", "fused"])
def test_a_forced_method_is_used_or_refused_in_a_sentence_but_never_replaced(terms, method):
    fits = method in ("reference", "fused") or plan(terms, MAP).method == method
    fits = fits or (method == "separable" and not terms.use_query)
    if fits:
        assert plan(terms, MAP, method=method).method == method
        return
    with pytest.raises(SpecError, match=f'method is "{method}", expected a method that serves'):
        plan(terms, MAP, method=method)


@every_term_set
def test_attend_gives_what_the_reference_gives(terms):
    grid = Grid((3,), (4,))
    made = operands(terms, grid)
    automatic = attend(terms, made, grid, Support(causal=True))
    assert_close(automatic, attend(terms, made, grid, Support(causal=True), "reference"))


@every_term_set
@pytest.mark.parametrize("grid", [Grid((300,), (300,)), Grid((24, 24), (24, 24))])
def test_an_empty_batch_is_an_empty_batch_by_every_method(terms, grid):
    made = operands(terms, grid, batch=0, widths=(4, 4))
    for method in ("auto", "reference", *fitting_methods(terms, grid, Structure())):
        output = attend(terms, made, grid, Support(), method)
        assert output.shape == (0, 2, math.prod(grid.queries), 4)
        torch.autograd.grad(output.sum(), Case(made, grid, Support()).leaves, allow_unused=True)


@pytest.mark.parametrize("terms", ["1000", "1111"])
def test_what_a_gpu_has_no_kernel_for_is_left_to_blocks_there(terms):
    asked, grid = Term.parse(terms), Grid((64, 64), (64, 64))
    assert plan(asked, grid, device="cuda").kernel != "blockwise"
    assert plan(asked, grid, device="cuda", double=True).kernel == "blockwise"
    assert "slow on a GPU" in plan(asked, grid, device="cuda", double=True).reason
    assert plan(asked, grid, double=True) == plan(asked, grid)
