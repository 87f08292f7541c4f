import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.results.factorial import (
    EFFECTS,
    HALF_FRACTION,
    TERMS,
    TermGrid,
    difference,
    price,
    term_grids,
)

SETS = [format(n, "04b") for n in range(16)]
FULL = TermGrid({t: t for t in SETS})
VALUES = st.lists(st.floats(-100, 100), min_size=16, max_size=16).map(
    lambda numbers: dict(zip(SETS, numbers, strict=True))
)


def apply(weights, values):
    return sum(weight * values[cell] for cell, weight in weights.items())


@given(VALUES)
def test_a_main_effect_is_the_mean_with_minus_the_mean_without(values):
    for place, term in enumerate(TERMS):
        sides = [[values[t] for t in SETS if t[place] == digit] for digit in "10"]
        expected = sum(sides[0]) / 8 - sum(sides[1]) / 8
        assert apply(FULL.effect(term), values) == pytest.approx(expected, abs=1e-9)


@given(VALUES)
def test_an_interaction_is_half_the_change_of_an_effect(values):
    def effect_of_e1(e3):
        with_, without = (
            [values[t] for t in SETS if t[0] == digit and t[2] == e3] for digit in "10"
        )
        return sum(with_) / 4 - sum(without) / 4

    expected = (effect_of_e1("1") - effect_of_e1("0")) / 2
    assert apply(FULL.effect("E1", "E3"), values) == pytest.approx(expected, abs=1e-9)


@given(VALUES)
def test_shapley_shares_are_mean_gains_over_all_orders_and_sum_to_the_whole(values):
    gains = dict.fromkeys(TERMS, 0.0)
    for order in itertools.permutations(range(4)):
        digits = ["0"] * 4
        for place in order:
            before = values["".join(digits)]
            digits[place] = "1"
            gains[TERMS[place]] += (values["".join(digits)] - before) / math.factorial(4)
    shares = {term: apply(FULL.shapley(term), values) for term in TERMS}
    assert shares == pytest.approx(gains, abs=1e-9)
    assert sum(shares.values()) == pytest.approx(values["1111"] - values["0000"], abs=1e-9)


def test_a_complete_grid_has_no_aliases():
    assert FULL.complete
    assert all(FULL.aliases(*effect) == {} for effect in EFFECTS)
    assert FULL.completeness("E1") == (8, 8)


@pytest.mark.parametrize("half", [HALF_FRACTION, sorted({*SETS} - {*HALF_FRACTION})])
def test_a_half_fraction_gives_main_effects_aliased_with_three_other_terms(half):
    grid = TermGrid({t: t for t in half})
    assert grid.is_fraction
    assert len(half) == 8
    for term in TERMS:
        others = tuple(other for other in TERMS if other != term)
        sign = 1 if half is HALF_FRACTION else -1
        assert grid.aliases(term) == {others: pytest.approx(sign)}
        assert grid.completeness(term) == (4, 8)
    assert grid.effect("E1", "E2") is None


def test_a_half_fraction_gives_way_to_four_complete_pairs():
    sets = [*HALF_FRACTION, "1000", "0100", "0010"]
    grid = TermGrid({t: t for t in sets})
    assert grid.is_fraction
    assert set(grid.effect("E1")) == set(HALF_FRACTION)
    pairs = TermGrid({t: t for t in [*sets, "1011", "0111"]})
    assert pairs.completeness("E1") == (5, 8)
    assert "1000" in pairs.effect("E1")


@given(st.sets(st.sampled_from(SETS), min_size=2), VALUES)
def test_an_incomplete_effect_is_the_effect_and_its_aliases(sets, values):
    grid = TermGrid({t: t for t in sets})
    for effect in EFFECTS[:10]:
        weights = grid.effect(*effect)
        if weights is None:
            assert grid.completeness(*effect)[0] == 0
            continue
        expected = apply(FULL.effect(*effect), values) + sum(
            share * apply(FULL.effect(*other), values)
            for other, share in grid.aliases(*effect).items()
        )
        assert apply(weights, values) == pytest.approx(expected, abs=1e-7)
        assert sum(weights.values()) == pytest.approx(0, abs=1e-9)


def test_simple_effects_add_a_term_to_all_others_or_to_none():
    assert FULL.simple_effect("E1", others=True) == {"1111": 1, "0111": -1}
    assert FULL.simple_effect("E4", others=False) == {"0001": 1, "0000": -1}
    assert TermGrid({"1111": "a", "0110": "b"}).simple_effect("E1", others=True) is None


def test_a_family_mean_is_a_contrast_with_a_price():
    weights = difference(FULL.with_term("E1"), FULL.with_term("E1", present=False))
    assert weights == FULL.effect("E1")
    assert price(weights, {t: 8.0 * (t[0] == "1") for t in SETS}) == pytest.approx(8.0)
    assert price(weights, {"1111": 1.0}) is None


def spec(encoder, decoder, cross, kind="attention"):
    return {
        "model": {
            "encoder_self": {"kind": kind, "terms": encoder},
            "decoder_self": {"kind": kind, "terms": decoder},
            "cross": {"kind": kind, "terms": cross},
        },
        "heads": [4, 4],
    }


def test_grids_are_recognized_from_specs_and_not_from_names():
    specs = {f"name {t}": spec(t, t, "1111") for t in SETS}
    specs["no module"] = {"model": {"encoder_self": None}, "heads": [4, 4]}
    (grid,) = term_grids(specs)
    assert grid.cells == {t: f"name {t}" for t in SETS}


def test_cells_of_an_older_version_are_in_one_grid_with_newer_ones():
    specs = {t: spec(t, t, "1111") for t in SETS}
    for terms in SETS[::2]:
        for mixer in specs[terms]["model"].values():
            mixer |= {"rotary": None, "qk_norm": False, "gate": False}
        specs[terms]["recipe"] = {"processes": 1}
    (grid,) = term_grids(specs)
    assert len(grid.cells) == len(SETS)
    specs[SETS[0]]["model"]["cross"]["gate"] = True
    assert [len(each.cells) for each in term_grids(specs)] == [len(SETS) - 1]


def test_two_grids_in_one_group_are_told_apart():
    specs = {f"{t}": spec(t, t, "1111") for t in SETS}
    specs |= {f"{t}+deformable": spec(t, t, "1111", "deformable") for t in ("0010", "1111")}
    assert sorted(len(grid.cells) for grid in term_grids(specs)) == [2, 16]


def test_cells_that_vary_self_and_cross_attention_are_two_grids():
    specs = {f"self {t}": spec(t, t, "1111") for t in ("0110", "0010", "1111")}
    specs |= {f"cross {t}": spec("1111", "1111", t) for t in ("0110", "0010", "1000")}
    found = [set(grid.cells) for grid in term_grids(specs)]
    assert {"0110", "0010", "1111"} in found
    assert {"0110", "0010", "1000", "1111"} in found


def test_a_cell_without_terms_is_in_no_grid_with_others():
    specs = {t: {"kind": "x", "terms": t} for t in ("0010", "0110")}
    [grid] = term_grids({**specs, "w/o": {"kind": "x"}})
    assert grid.cells == {t: t for t in specs}


def test_many_mixers_that_vary_together_are_one_grid():
    """The combinations of 60 mixers would not end."""
    specs = {t: {"layers": [{"terms": t}] * 60} for t in ("0010", "0110")}
    assert [grid.cells for grid in term_grids(specs)] == [{t: t for t in specs}]


def test_terms_that_are_no_term_set_make_no_grid():
    assert term_grids({t: {"terms": t} for t in ("a", "01", "00000", "w/o")}) == []
