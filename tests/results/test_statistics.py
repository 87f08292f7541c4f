from quatrain.results import Summary
from quatrain.results.statistics import CONFIDENCE, ROUNDING, ordered_sum


def test_values_rounded_to_float32_are_equal():
    assert 2**-24 < ROUNDING < 1e-6


def test_a_summary_may_have_no_interval():
    assert (Summary(31.5, None, None, 1).low, CONFIDENCE) == (None, 0.95)


def test_a_sum_goes_from_left_to_right_without_compensation():
    assert ordered_sum([1.0, 1e100, 1.0, -1e100]) == 0.0
    assert ordered_sum([]) == 0.0
    assert ordered_sum([1e308, 1e308]) == float("inf")
