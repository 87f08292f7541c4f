import json
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.weightstats import ttost_paired

from quatrain.results.fit import Design, fit
from quatrain.specs import StudyError

DATA = json.loads((Path(__file__).parent / "data" / "multi30k_two_seeds.json").read_text())
GROUPS = {
    group: {cell: {int(s): v for s, v in seeds.items()} for cell, seeds in cells.items()}
    for group, cells in DATA.items()
}


def random_values(generator, cells, seeds, kept=1.0):
    """Values of a grid, of which some are missing; seed 0 and cell c0 are complete."""
    return {
        f"c{c}": {
            s: float(generator.normal(30 + c, 1 + c))
            for s in range(seeds)
            if c == 0 or s == 0 or generator.random() < kept
        }
        for c in range(cells)
    }


def oracle(values):
    """The same model as treatment-coded least squares of statsmodels."""
    cells = list(values)
    seeds = sorted({seed for own in values.values() for seed in own})
    pairs = [(cell, seed) for cell, own in values.items() for seed in own]
    x = np.array(
        [[*(cell == c for c in cells), *(seed == s for s in seeds[1:])] for cell, seed in pairs],
        dtype=float,
    )
    return sm.OLS([values[cell][seed] for cell, seed in pairs], x).fit(), cells, seeds


@pytest.mark.parametrize("kept", [1.0, 0.5])
def test_contrasts_equal_those_of_statsmodels(kept):
    generator = np.random.default_rng(1)
    for cells, seeds in ((2, 3), (5, 2), (16, 3), (7, 10)):
        values = random_values(generator, cells, seeds, kept)
        result, names, all_seeds = oracle(values)
        fitted = fit(values)
        weights = generator.normal(size=cells)
        for w in (weights - weights.mean(), weights):
            share = w.sum() / len(all_seeds)
            expected = result.t_test([*w, *[share] * (len(all_seeds) - 1)])
            found = fitted.contrast(dict(zip(names, w, strict=True)))
            low, high = expected.conf_int()[0]
            assert [found.value, found.standard_error, found.df, found.p] == pytest.approx(
                [expected.effect[0], expected.sd[0, 0], result.df_resid, float(expected.pvalue)],
                abs=1e-8,
            )
            assert [found.low, found.high] == pytest.approx([low, high], abs=1e-8)


def test_two_cells_give_the_paired_t_test_and_its_equivalence_test():
    left, right = [31.0, 33.5, 30.2, 34.0], [30.1, 31.0, 30.0, 32.2]
    values = {"left": dict(enumerate(left)), "right": dict(enumerate(right))}
    found = fit(values).contrast({"left": 1, "right": -1}, margin=2.5)
    paired = stats.ttest_rel(left, right)
    interval = paired.confidence_interval()
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p == pytest.approx(paired.pvalue, abs=1e-8)
    equivalence = ttost_paired(np.array(left), np.array(right), -2.5, 2.5)[0]
    assert found.p_equivalent == pytest.approx(equivalence, abs=1e-8)


def test_separate_variances_give_welch():
    left, right = [31.0, 33.5, 30.2, 34.0], [30.1, 30.2, 30.0]
    values = {"left": dict(enumerate(left)), "right": dict(enumerate(right))}
    found = fit(values, "separate").contrast({"left": 1, "right": -1})
    expected = stats.ttest_ind(left, right, equal_var=False)
    interval = expected.confidence_interval()
    assert (found.p, found.df) == pytest.approx((expected.pvalue, expected.df))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


DIFFERENCES = [
    ("self", "w/o", 2.46, 1.95, 2.97, 4e-6),
    ("self", "0010", 1.57, 1.06, 2.08, 1e-4),
    ("self", "1000", 2.19, 1.68, 2.70, 1e-5),
    ("self", "0111", -0.05, -0.56, 0.46, None),
    ("cross", "0111", 1.85, 1.21, 2.48, 4e-4),
    ("cross", "0110", 1.83, None, None, None),
    ("cross", "0100", 2.02, None, None, None),
    ("cross", "1000", 1.05, None, None, None),
]
EQUIVALENT = ["0111", "0011", "1100"]


@pytest.mark.parametrize(("group", "cell", "value", "low", "high", "p"), DIFFERENCES)
def test_the_differences_of_two_seeds_on_multi30k(group, cell, value, low, high, p):
    found = fit(GROUPS[group]).contrast({"1111": 1, cell: -1})
    assert round(found.value, 2) == value
    if low is not None:
        assert (round(found.low, 2), round(found.high, 2)) == (low, high)
    if p is not None:
        assert found.p == pytest.approx(p, rel=0.5)
    if group == "cross":
        assert found.p < 0.01


@pytest.mark.parametrize("cell", EQUIVALENT)
def test_equivalent_cells_of_two_seeds_on_multi30k(cell):
    assert fit(GROUPS["self"]).contrast({"1111": 1, cell: -1}, margin=0.5).p_equivalent < 0.05


def test_the_noise_of_two_seeds_on_multi30k():
    found = {group: fit(values) for group, values in GROUPS.items()}
    assert {group: (round(f.sd, 2), f.df) for group, f in found.items()} == {
        "self": (0.22, 8),
        "cross": (0.26, 6),
    }


def test_cells_without_runs_or_common_seeds_are_refused():
    fitted = fit({"a": {0: 1.0, 1: 2.0}, "b": {2: 1.0, 3: 3.0}})
    with pytest.raises(StudyError) as info:
        fitted.contrast({"a": 1, "b": -1})
    assert info.value.field == "seeds"
    with pytest.raises(StudyError) as info:
        fitted.contrast({"a": 1, "c": -1})
    assert info.value.field == "cell"
    with pytest.raises(StudyError):
        fit({"a": {}})


def test_one_seed_has_a_value_and_no_interval():
    found = fit({"a": {0: 1.0}, "b": {0: 3.0}}).contrast({"b": 1, "a": -1}, margin=1)
    assert found.value == pytest.approx(2)
    assert (found.low, found.p, found.p_equivalent) == (None, None, None)


def test_equal_differences_have_no_interval_and_prove_nothing():
    values = {"a": {0: 95.2, 1: 94.8}, "b": {0: 94.8, 1: 94.4}}
    found = fit(values).contrast({"a": 1, "b": -1}, margin=1)
    assert (found.low, found.p, found.p_equivalent) == (None, 1.0, None)
    assert found.value == pytest.approx(0.4)


@given(
    st.lists(st.floats(-50, 50), min_size=6, max_size=6),
    st.floats(-1e3, 1e3),
    st.floats(-1e3, 1e3),
)
def test_seed_effects_and_offsets_do_not_change_differences(noise, offset, seed_effect):
    values = {"a": dict(enumerate(noise[:3])), "b": dict(enumerate(noise[3:]))}
    moved = {
        cell: {s: v + offset + seed_effect * s for s, v in own.items()}
        for cell, own in values.items()
    }
    weights = {"a": 1, "b": -1}
    before, after = fit(values).contrast(weights), fit(moved).contrast(weights)
    assert after.value == pytest.approx(before.value, abs=1e-8)


def test_the_standard_error_of_a_design_is_known_before_it_is_run():
    design = Design({"a": range(3), "b": range(3)})
    assert design.df == 2
    assert design.factor({"a": 1, "b": -1}) == pytest.approx((2 / 3) ** 0.5)
    terms = [format(n, "04b") for n in range(16)]
    grid = Design({term_set: range(3) for term_set in terms})
    effect = {t: (1 if t[0] == "1" else -1) / 8 for t in terms}
    assert grid.df == 30
    assert stats.t.ppf(0.975, 30) * grid.factor(effect) == pytest.approx(0.59, abs=0.005)


@pytest.mark.parametrize("spread", [1.0, 2.0])
def test_intervals_of_simulated_studies_cover_their_nominal_share(spread):
    """Equal variances, and moderately unequal ones, whose factor is 2 between half of the cells."""
    generator = np.random.default_rng(0)
    cells, seeds, studies = 8, 3, 600
    scales = np.where(np.arange(cells) % 2 == 0, 1.0, spread)
    covered = 0
    for _ in range(studies):
        noise = generator.normal(size=(cells, seeds)) * scales[:, None]
        noise += generator.normal(size=seeds)
        values = {f"c{c}": dict(enumerate(row.tolist())) for c, row in enumerate(noise)}
        found = fit(values).contrast({"c0": 1, "c1": -1})
        covered += found.low <= 0 <= found.high
    assert covered / studies == pytest.approx(0.95, abs=0.03)


@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e99])
def test_separate_variances_do_not_depend_on_the_unit(scale):
    values = {"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {0: 1.0, 1: 1.5, 2: 1.2}}
    scaled = {cell: {s: v * scale for s, v in own.items()} for cell, own in values.items()}
    found, expected = (
        fit(each, "separate").contrast({"a": 1, "b": -1}) for each in (scaled, values)
    )
    assert (found.df, found.p) == pytest.approx((expected.df, expected.p))


def test_a_contrast_can_be_estimated_if_its_cells_are_connected():
    apart = fit({"a": {0: 1.0}, "b": {0: 2.0, 1: 2.5}, "c": {1: 1.0}, "d": {2: 3.0}})
    assert apart.can_estimate({"a": 1, "c": -1})
    assert not apart.can_estimate({"a": 1, "d": -1})
    assert not apart.can_estimate({"a": 1, "e": -1})
