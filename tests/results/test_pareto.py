import numpy as np
import pytest

from quatrain.results.fit import fit
from quatrain.results.pareto import front, membership, memberships


def test_the_front_is_of_cells_that_no_other_exceeds():
    values = {"a": 1.0, "b": 3.0, "c": 2.0, "d": 3.0}
    assert front(values, {"a": 1, "b": 2, "c": 3, "d": 2}) == ["a", "b"]


def values(means, sd, seeds=4):
    generator = np.random.default_rng(0)
    return {
        cell: dict(enumerate(generator.normal(mean, sd, seeds).tolist()))
        for cell, mean in means.items()
    }


def test_certain_cells_have_probability_one_or_zero():
    fitted = fit(values({"cheap": 10, "bad": 5, "best": 20}, 0.1))
    found = membership(fitted, {"cheap": 1, "bad": 2, "best": 3})
    assert found == {"cheap": 1.0, "bad": 0.0, "best": 1.0}


def test_lower_may_be_better():
    fitted = fit(values({"cheap": 10, "best": 5, "bad": 20}, 0.1))
    found = membership(fitted, {"cheap": 1, "best": 2, "bad": 3}, lower_is_better=True)
    assert found == {"cheap": 1.0, "best": 1.0, "bad": 0.0}


def test_equal_cells_of_equal_cost_share_their_membership():
    same = dict(enumerate([1.0, 2.0, 3.0]))
    shifted = dict(enumerate([2.0, 1.0, 3.0]))
    found = membership(fit({"a": same, "b": shifted}), {"a": 1, "b": 1})
    assert sum(found.values()) == pytest.approx(1)
    assert found["a"] == pytest.approx(0.5, abs=0.05)


def test_the_dearer_of_two_equal_cells_is_on_the_front_half_of_the_time():
    same = dict(enumerate([1.0, 2.0, 3.0]))
    shifted = dict(enumerate([2.0, 1.0, 3.0]))
    found = membership(fit({"a": same, "b": shifted}), {"a": 1, "b": 2})
    assert found["a"] == 1
    assert found["b"] == pytest.approx(0.5, abs=0.05)


def test_one_seed_gives_no_probability():
    assert membership(fit({"a": {0: 1.0}, "b": {0: 2.0}}), {"a": 1, "b": 2}) is None


def test_separate_variances_let_a_quiet_cell_be_sure_of_its_place():
    noisy = {"a": {0: 10.0, 1: 10.01, 2: 9.99}, "b": {0: 10.1, 1: 10.11, 2: 10.09}}
    noisy["c"] = {0: 2.0, 1: 5.0, 2: -1.0}
    costs = {"a": 1, "b": 2, "c": 3}
    assert membership(fit(noisy), costs)["b"] < 0.7
    assert membership(fit(noisy, "separate"), costs) == pytest.approx(
        {"a": 1.0, "b": 1.0, "c": 0.07}, abs=0.07
    )


def test_the_odds_of_separate_variances_are_those_of_welchs_difference():
    left, right = {0: 1.0, 1: 2.0, 2: 3.0, 3: 2.5}, {0: 2.0, 1: 2.6, 2: 4.4, 3: 3.0}
    fitted = fit({"a": left, "b": right}, "separate")
    found = membership(fitted, {"a": 1, "b": 2})
    draws = np.random.default_rng(1).standard_t(3, (200_000, 2))
    means, errors = np.array([2.125, 3.0]), np.array([np.std([*v.values()], ddof=1) / 2
                                                      for v in (left, right)])  # fmt: skip
    drawn = means + errors * draws
    assert found["b"] == pytest.approx((drawn[:, 1] > drawn[:, 0]).mean(), abs=0.03)


def test_separate_variances_need_two_seeds_of_each_cell():
    assert membership(fit({"a": {0: 1.0, 1: 2.0}, "b": {0: 2.0}}, "separate"), {"a": 1}) is None
    assert membership(fit({"a": {0: 1.0, 1: 1.0}, "b": {0: 2.0, 1: 2.0}}, "separate"), {}) is None


def test_several_costs_share_their_draws():
    fitted = fit(values({"a": 10, "b": 10.1, "c": 9.9}, 0.3))
    costs = [{"a": 1, "b": 2, "c": 3}, {"a": 3, "b": 2, "c": 1}, {"b": 1}]
    assert memberships(fitted, costs) == [membership(fitted, each) for each in costs]


def test_cells_without_common_seeds_have_no_odds():
    apart = {"a": {0: 1.0, 1: 2.0}, "b": {0: 2.0, 1: 2.5}, "c": {2: 3.0, 3: 4.0}}
    assert membership(fit(apart), {"a": 1, "b": 2, "c": 3}) is None
    assert membership(fit(apart, "separate"), {"a": 1, "b": 2, "c": 3}) is not None
