import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats

from quatrain.results import Summary, holm, paired_difference, summarize
from quatrain.specs import StudyError

NUMBERS = st.floats(-1e3, 1e3)
BY_SEED = st.dictionaries(st.integers(0, 9), NUMBERS, min_size=1)


def test_the_interval_is_that_of_scipy():
    sample = [30.0, 31.0, 32.5, 29.0]
    low, high = stats.t.interval(0.95, 3, loc=np.mean(sample), scale=stats.sem(sample))
    summary = summarize(sample)
    assert summary.n == 4
    assert (summary.mean, summary.low, summary.high) == pytest.approx((30.625, low, high))


def test_one_seed_has_a_mean_and_no_interval():
    assert summarize([31.5]) == Summary(31.5, None, None, 1)
    assert not summarize([31.5]).decided


def test_no_value_and_no_common_seed_are_refused():
    with pytest.raises(StudyError, match="at least one finished run"):
        summarize([])
    with pytest.raises(StudyError, match="at least one finished run"):
        paired_difference({0: 1.0}, {1: 1.0})


@given(st.lists(NUMBERS, min_size=2, max_size=8), NUMBERS)
def test_shifting_the_values_shifts_the_interval(values, shift):
    plain, moved = summarize(values), summarize([value + shift for value in values])
    assert (moved.mean, moved.low, moved.high) == pytest.approx(
        (plain.mean + shift, plain.low + shift, plain.high + shift), abs=1e-6
    )


@given(BY_SEED, BY_SEED)
def test_swapping_the_sides_turns_the_difference_around(left, right):
    assume(left.keys() & right.keys())
    one, other = paired_difference(left, right), paired_difference(right, left)
    assert one.mean == -other.mean
    assert one.decided == other.decided
    if one.low is not None:
        assert (one.low, one.high) == (-other.high, -other.low)


def test_only_seeds_that_both_have_are_paired():
    summary = paired_difference({0: 31, 1: 33, 2: 90}, {1: 31, 0: 30, 7: 0})
    assert (summary.mean, summary.n) == (1.5, 2)


def test_pairing_removes_the_luck_of_the_seed():
    luck = {0: 0.0, 1: 5.0, 2: -7.0}
    left = {seed: 30 + value for seed, value in luck.items()}
    left[0] += 0.01
    right = {seed: 29 + value for seed, value in luck.items()}
    assert paired_difference(left, right).decided
    assert summarize(left.values()).high - summarize(left.values()).low > 10


@pytest.mark.parametrize("count", [2, 3, 10])
def test_the_interval_holds_the_truth_in_95_of_100_samples(count):
    samples = np.random.default_rng(5).normal(2.0, 3.0, (2000, count))
    summaries = [summarize(sample) for sample in samples]
    held = np.mean([summary.low <= 2.0 <= summary.high for summary in summaries])
    assert held == pytest.approx(0.95, abs=0.015)


def test_the_p_value_is_that_of_scipy():
    sample = [1.0, 2.0, 2.5, -0.5]
    assert summarize(sample).p == pytest.approx(stats.ttest_1samp(sample, 0.0).pvalue)
    assert summarize([1.0]).p is None
    assert (summarize([2.0, 2.0]).p, summarize([0.0, 0.0]).p) == (0.0, 1.0)


@given(st.lists(NUMBERS, min_size=2, max_size=8))
def test_the_p_value_is_below_five_percent_where_the_interval_leaves_zero_out(values):
    summary = summarize(values)
    assume(min(abs(summary.low), abs(summary.high)) > 1e-9)
    assert summary.decided == (summary.p < 0.05)


def test_holm_corrects_step_by_step():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), max_size=8))
def test_corrected_values_keep_the_order_and_lie_between_one_fold_and_all_fold(chances):
    corrected = holm(chances)
    for chance, value in zip(chances, corrected, strict=True):
        assert min(1.0, chance) <= value <= min(1.0, len(chances) * chance) + 1e-12
    ranked = [value for _, value in sorted(zip(chances, corrected, strict=True))]
    assert ranked == sorted(ranked)
