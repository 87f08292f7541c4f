import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from quatrain.results import Summary, holm, paired_difference, summarize
from quatrain.specs import StudyError

NUMBERS = st.floats(-1e3, 1e3)
BY_SEED = st.dictionaries(st.integers(0, 9), NUMBERS, min_size=1)


def test_interval_equals_scipy():
    sample = [30.0, 31.0, 32.5, 29.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(sample), scale=stats.sem(sample))
    summary = summarize(sample)
    assert summary.n == 4
    assert (summary.mean, summary.low, summary.high) == pytest.approx((30.625, low, high))


def test_one_seed_has_a_mean_and_no_interval():
    assert summarize([31.5]) == Summary(31.5, None, None, 1)
    assert not summarize([31.5]).significant


def test_no_value_and_no_common_seed_are_rejected():
    for call in (lambda: summarize([]), lambda: paired_difference({0: 1.0}, {1: 1.0})):
        with pytest.raises(StudyError) as info:
            call()
        assert info.value.field == "seeds"


@given(st.lists(NUMBERS, min_size=2, max_size=8), NUMBERS)
def test_shifting_the_values_shifts_the_interval(values, shift):
    plain, moved = summarize(values), summarize([value + shift for value in values])
    assume(not plain.zero_variance and not moved.zero_variance)
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (plain.mean + shift, plain.low + shift, plain.high + shift), abs=1e-6
    )


@given(BY_SEED, BY_SEED)
def test_swapping_the_sides_negates_the_difference(left, right):
    assume(left.keys() & right.keys())
    one, other = paired_difference(left, right), paired_difference(right, left)
    assert one.mean == -other.mean
    assert one.significant == other.significant
    if one.low is not None:
        assert (one.low, one.high) == (-other.high, -other.low)


def test_only_seeds_that_both_have_are_paired():
    summary = paired_difference({0: 31, 1: 33, 2: 90}, {1: 31, 0: 30, 7: 0})
    assert (summary.mean, summary.n) == (1.5, 2)


def test_pairing_removes_the_effect_of_the_seed():
    effect = {0: 0.0, 1: 5.0, 2: -7.0}
    left = {seed: 30 + value for seed, value in effect.items()}
    left[0] += 0.01
    right = {seed: 29 + value for seed, value in effect.items()}
    assert paired_difference(left, right).significant
    assert summarize(left.values()).high - summarize(left.values()).low > 10


@pytest.mark.parametrize("count", [2, 3, 10])
def test_interval_covers_the_true_mean_in_95_of_100_samples(count):
    samples = np.random.default_rng(5).normal(2.0, 3.0, (2000, count))
    summaries = [summarize(sample) for sample in samples]
    coverage = np.mean([summary.low <= 2.0 <= summary.high for summary in summaries])
    assert coverage == pytest.approx(0.95, abs=0.015)


def test_p_value_equals_scipy():
    sample = [1.0, 2.0, 2.5, -0.5]
    assert summarize(sample).p == pytest.approx(stats.ttest_1samp(sample, 0.0).pvalue)
    assert summarize([1.0]).p is None


@pytest.mark.parametrize("count", [2, 3, 10])
@pytest.mark.parametrize("kind", [float, np.float32])
@pytest.mark.parametrize("difference", [0.0, 0.4, -17.2])
def test_equal_differences_have_a_mean_and_are_not_significant(count, kind, difference):
    """Accuracies of few examples are often tied, and they may be rounded to float32."""
    left = {seed: float(kind(95.2 - 0.4 * seed + difference)) for seed in range(count)}
    right = {seed: float(kind(95.2 - 0.4 * seed)) for seed in range(count)}
    summary = paired_difference(left, right)
    assert summary.mean == pytest.approx(difference, abs=1e-4)
    assert (summary.low, summary.high, summary.n, summary.p) == (None, None, count, 1.0)
    assert summary.zero_variance
    assert not summary.significant


@pytest.mark.parametrize("value", [0.0, 2.0, 100.0, 1e-9, -1e9])
def test_equal_values_have_no_interval(value):
    assert summarize([value] * 3) == Summary(value, None, None, 3, 1.0)
    assert summarize([value, value * (1 + 1e-7)]).zero_variance
    assert not summarize([value + 1, value + 1.001 + abs(value) * 1e-3]).zero_variance


def test_small_differences_can_be_significant():
    left = {0: 1e-3, 1: 1.2e-3, 2: 1.1e-3}
    assert paired_difference(left, dict.fromkeys(left, 0.0)).significant


@given(st.lists(NUMBERS, min_size=2, max_size=8))
def test_p_value_is_below_five_percent_if_the_interval_excludes_zero(values):
    summary = summarize(values)
    assume(not summary.zero_variance)
    assume(min(abs(summary.low), abs(summary.high)) > 1e-9)
    assert summary.significant == (summary.p < 0.05)


def test_holm_adjusts_step_by_step():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_adjusted_p_values_keep_their_order_and_bounds(p_values):
    adjusted_p = holm(p_values)
    for p, value in zip(p_values, adjusted_p, strict=True):
        assert min(1.0, p) <= value <= min(1.0, len(p_values) * p) + 1e-12
    ranked = [value for _, value in sorted(zip(p_values, adjusted_p, strict=True))]
    assert ranked == sorted(ranked)


def test_decided_is_the_old_name_of_significant():
    assert summarize([1.0, 1.1, 0.9]).decided
    assert not summarize([1.0, -1.0]).decided
