import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.power import TTestPower

from quatrain.results.fit import Design, fit
from quatrain.results.planning import (
    expected_error,
    further_seeds,
    half_width,
    power_of_difference,
    power_of_equivalence,
)


@pytest.mark.parametrize(("effect", "n"), [(0.3, 4), (1.0, 3), (3.3, 3), (0.8, 20)])
def test_power_equals_that_of_statsmodels(effect, n):
    expected = TTestPower().power(effect, n, 0.05)
    assert power_of_difference(effect, 1 / n**0.5, n - 1) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("margin", "n"), [(0.5, 36), (1.0, 11), (1.5, 6), (2.0, 4)])
def test_seeds_for_equivalence_of_a_pair(margin, n):
    """Numbers of seeds for 80 % power at margins in standard deviations of the difference."""
    assert power_of_equivalence(0.0, margin, 1 / n**0.5, n - 1) >= 0.8
    assert power_of_equivalence(0.0, margin, 1 / (n - 2) ** 0.5, n - 3) < 0.8


@pytest.mark.parametrize("effect", [0.0, 0.4])
def test_power_of_equivalence_equals_a_simulation(effect):
    generator = np.random.default_rng(0)
    n, margin, count = 8, 1.0, 20_000
    sample = generator.normal(effect, 1, size=(count, n))
    error = sample.std(axis=1, ddof=1) / n**0.5
    reach = margin - stats.t.ppf(0.95, n - 1) * error
    expected = (np.abs(sample.mean(axis=1)) <= reach).mean()
    assert power_of_equivalence(effect, margin, n**-0.5, n - 1) == pytest.approx(expected, abs=0.01)


def test_half_width_is_that_of_the_interval():
    found = fit({"a": {0: 1.0, 1: 2.0, 2: 4.0}, "b": {0: 1.5, 1: 1.0, 2: 3.0}})
    estimate = found.contrast({"a": 1, "b": -1})
    width = half_width(estimate.standard_error, estimate.df)
    assert width == pytest.approx((estimate.high - estimate.low) / 2)


def grid(difference, seeds):
    generator = np.random.default_rng(3)
    noise = generator.normal(size=(4, seeds))
    noise -= noise.mean(axis=1, keepdims=True)
    noise[1] += difference
    return fit({f"c{n}": dict(enumerate(row.tolist())) for n, row in enumerate(noise)})


def test_larger_differences_need_fewer_seeds():
    weights = {"c1": 1, "c0": -1}
    needed = [further_seeds(grid(size, 3), weights, None) for size in (4.0, 2.0, 1.0)]
    assert needed == sorted(needed)
    assert further_seeds(grid(0.0, 3), weights, None) is None


def test_a_margin_settles_what_no_test_of_a_difference_can():
    assert further_seeds(grid(0.0, 3), {"c1": 1, "c0": -1}, margin=1.5) > 0


def test_without_an_estimate_of_the_noise_there_is_no_plan():
    assert further_seeds(fit({"a": {0: 1.0}, "b": {0: 2.0}}), {"a": 1, "b": -1}, None) is None


def test_cells_with_separate_variances_are_planned_by_their_own_spread():
    values = {
        "calm": {0: 1.0, 1: 1.1, 2: 0.9, 3: 1.0},
        "calmer": {0: 1.5, 1: 1.4, 2: 1.6, 3: 1.2},
        "loud": {0: -20.0, 1: 30.0, 2: 5.0, 3: -9.0},
    }
    weights = {"calmer": 1, "calm": -1}
    assert further_seeds(fit(values), weights, None) is None
    assert further_seeds(fit(values, "separate"), weights, None) == 1


@pytest.mark.parametrize("variance", ["pooled", "separate"])
def test_the_expected_error_of_the_present_seeds_is_that_of_the_contrast(variance):
    values = {
        "a": {0: 1.0, 1: 2.0, 2: 4.0},
        "b": {0: 1.5, 1: 1.0, 2: 3.5},
        "c": {0: 20.0, 1: 33.0},
    }
    fitted = fit(values, variance)
    for weights in ({"a": 1, "b": -1}, {"a": 1, "c": -1}, {"a": 0.5, "b": 0.5, "c": -1}):
        found = fitted.contrast(weights)
        expected = expected_error(fitted, weights, fitted.design)
        assert expected == pytest.approx((found.standard_error, found.df))


def test_a_cell_with_one_run_is_expected_to_spread_like_the_others():
    values = {"a": {0: 1.0, 1: 3.0}, "b": {0: 1.0, 1: 5.0}, "c": {0: 2.0}}
    planned = Design(dict.fromkeys(values, (0, 1, 2)))
    fitted = fit(values, "separate")
    assert fitted.variance_of("c") == pytest.approx((2 + 8) / 2)
    error, df = expected_error(fitted, {"c": 1, "a": -1}, planned)
    assert error == pytest.approx(((5 + 2) / 3) ** 0.5)
    assert 2 < df < 4


def test_without_common_seeds_or_spread_no_error_is_expected():
    same = fit({"a": {0: 1.0, 1: 1.0}, "b": {0: 1.0, 1: 1.0}})
    weights = {"a": 1, "b": -1}
    assert expected_error(same, weights, Design({"a": (0, 1), "b": (0, 1)})) is None
    spread = fit({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 3.0}})
    assert expected_error(spread, weights, Design({"a": (0, 1), "b": (2, 3)})) is None
    separate = fit({"a": {0: 1.0, 1: 2.0}, "b": {0: 1.0, 1: 3.0}}, "separate")
    assert expected_error(separate, weights, Design({"a": (0, 1), "b": (2,)})) is None
