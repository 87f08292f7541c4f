import pytest

from quatrain.cost import planned_cost
from quatrain.ops import counts
from quatrain.ops.attention.triton import operator as tiles
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import QuatrainError, Term


def test_the_cost_is_that_of_the_chosen_method_on_the_grid_that_the_sizes_name():
    terms = Term.parse("0011")
    found = planned_cost(terms, (50, 84), (25, 42))
    size = counts.AttentionSize(1, Grid((50, 84), (25, 42), 2), 256, heads=8)
    assert found.method == "separable"
    assert found.multiply_adds == counts.attend(terms, "separable", size)
    assert found.bytes == 4 * counts.weights_held(terms, "separable", size)


def test_training_adds_the_gradients():
    forward, both = (planned_cost(Term.KEY, (64, 64), training=each) for each in (False, True))
    assert both.multiply_adds == 3 * forward.multiply_adds


def test_on_a_gpu_positions_cost_tiles_no_product_of_all_pairs(monkeypatch):
    monkeypatch.setattr(tiles, "is_available", lambda: True)
    found = planned_cost(Term.parse("1111"), (100, 168), device="cuda")
    pairs = (100 * 168) ** 2
    assert (found.kernel, found.bytes) == ("triton", 4 * 8 * 100 * 168 * (100 + 168))
    separable = planned_cost(Term.parse("0011"), (64, 64), device="cuda")
    assert (separable.method, separable.kernel) == ("separable", "triton")
    assert separable.bytes == 4 * 8 * 2 * 64**2
    assert 1 < found.multiply_adds / (2 * pairs * 256) < 1.02
    both = planned_cost(Term.parse("1111"), (100, 168), device="cuda", training=True)
    assert 3.4 < both.multiply_adds / found.multiply_adds < 3.5
    alone = planned_cost(Term.parse("0110"), (100, 168), device="cuda", training=True)
    assert 1 < alone.multiply_adds / (3 * pairs * 256) < 1.1


def test_heads_too_wide_for_tiles_have_the_price_of_wider_queries_and_keys():
    asked = {"queries": (100, 168), "channels": 512, "heads": 2, "device": "cuda"}
    found = planned_cost(Term.parse("1111"), **asked)
    pairs = (100 * 168) ** 2
    assert (found.kernel, found.bytes) == ("augmented", 0)
    assert found.multiply_adds > pairs * (2 * (256 + 100 + 168) + 512)
    both = planned_cost(Term.parse("1111"), **asked, training=True)
    assert 3 < both.multiply_adds / found.multiply_adds < 4


def test_a_gpu_computes_heads_of_widths_that_its_kernels_take():
    asked = {"queries": (512,), "channels": 40, "heads": 8}
    here, there = (planned_cost(Term.QUERY_KEY, **asked, device=d) for d in ("cpu", "cuda"))
    assert (here.kernel, there.kernel) == ("sdpa", "sdpa")
    assert there.multiply_adds * 5 == here.multiply_adds * 8


@pytest.mark.parametrize("named", [{"training": True}, {"device": "cuda"}])
def test_separable_holds_all_heads_where_they_learn_or_a_gpu_does_them(named, monkeypatch):
    monkeypatch.setattr(tiles, "is_available", lambda: False)
    alone, together = (planned_cost(Term.parse("0011"), (64, 64), **n) for n in ({}, named))
    assert together.bytes == 8 * alone.bytes


def test_keys_that_no_stride_leaves_lie_next_to_each_other():
    alone, stepwise = (planned_cost(Term.parse("1111"), (300,), keys) for keys in ((300,), (299,)))
    assert stepwise.multiply_adds < alone.multiply_adds


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"heads": 7}, "heads"),
        ({"heads": 0}, "heads"),
        ({"channels": -256}, "channels"),
        ({"channels": 6, "heads": 2}, "channels"),
        ({"batch": 0}, "batch"),
        ({"structure": Structure(window=4)}, "window"),
        ({"structure": Structure(causal=True)}, "causal"),
        ({"keys": (5,)}, "keys"),
        ({"method": "pooled"}, "method"),
    ],
)
def test_what_cannot_be_is_refused_by_its_name(asked, field):
    with pytest.raises(QuatrainError, match=f"{field} is"):
        planned_cost(Term.parse("1111"), (8, 9), **asked)
