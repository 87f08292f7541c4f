from quatrain.results import Summary
from quatrain.results.statistics import CONFIDENCE, ROUNDING


def test_values_rounded_to_float32_are_equal():
    assert 2**-24 < ROUNDING < 1e-6


def test_a_summary_may_have_no_interval():
    assert (Summary(31.5, None, None, 1).low, CONFIDENCE) == (None, 0.95)
