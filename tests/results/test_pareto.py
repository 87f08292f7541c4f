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


def test_several_costs_share_their_draws():
    fitted = fit(values({"a": 10, "b": 10.1, "c": 9.9}, 0.3))
    costs = [{"a": 1, "b": 2, "c": 3}, {"a": 3, "b": 2, "c": 1}, {"b": 1}]
    assert memberships(fitted, costs) == [membership(fitted, each) for each in costs]
