import numpy as np
import pytest
from scipy import stats

from quatrain.results.diagnostics import diagnose
from quatrain.results.fit import fit


def values(scales, seeds, common=0.0):
    generator = np.random.default_rng(0)
    shared = common * generator.normal(size=seeds)
    return {
        f"c{n}": dict(enumerate((shared + scale * generator.normal(size=seeds)).tolist()))
        for n, scale in enumerate(scales)
    }


def test_the_test_of_equal_variances_is_that_of_brown_and_forsythe():
    samples = values([1, 1, 8, 8], 10)
    found = diagnose(fit(samples))
    expected = stats.levene(*[list(own.values()) for own in samples.values()], center="median")
    assert found.equal_variances_p == pytest.approx(expected.pvalue)
    assert found.variances_differ


def test_equal_variances_are_not_flagged():
    assert not diagnose(fit(values([1, 1, 1, 1], 10))).variances_differ


def test_two_seeds_cannot_test_variances():
    found = diagnose(fit(values([1, 5, 1], 2)))
    assert found.equal_variances_p is None
    assert not found.variances_differ
    assert set(found.cell_sd) == {"c0", "c1", "c2"}


def test_the_correlation_of_seeds_is_estimated():
    found = diagnose(fit(values([1] * 20, 200, common=2.0))).seed_correlation
    assert found == pytest.approx(4 / 5, abs=0.05)
    assert diagnose(fit(values([1] * 20, 200))).seed_correlation == pytest.approx(0, abs=0.02)


def test_one_cell_or_one_seed_has_no_correlation():
    assert diagnose(fit({"a": {0: 1.0, 1: 2.0}})).seed_correlation is None
    assert diagnose(fit({"a": {0: 1.0}, "b": {0: 2.0}})).seed_correlation is None
