import pytest
from scipy.stats import kendalltau

from quatrain.results.rank_agreement import rank_agreement
from quatrain.specs import StudyError

VALUES = {
    "a": {0: 10.0, 1: 10.2, 2: 9.9},
    "b": {0: 20.1, 1: 20.0, 2: 20.2},
    "c": {0: 20.2, 1: 20.1, 2: 20.0},
    "d": {0: 30.0, 1: 30.3, 2: 30.1},
}


def test_pairs_without_a_significant_difference_are_not_counted():
    agreement = rank_agreement(VALUES, {"a": 1, "b": 3, "c": 2, "d": 4})
    assert (agreement.concordant, agreement.discordant) == (5, 0)
    assert (agreement.significant, agreement.pairs) == (5, 6)
    assert agreement.tau == 1.0


def test_tau_of_all_pairs_is_that_of_scipy():
    scores = {"a": 2.0, "b": 1.0, "c": 4.0, "d": 3.0}
    values = {cell: {0: sum(own.values())} for cell, own in VALUES.items()}
    values["c"] = {0: 60.5}
    expected = kendalltau([values[cell][0] for cell in scores], list(scores.values()))
    agreement = rank_agreement(values, scores)
    assert agreement.tau_of_all == pytest.approx(expected.statistic)
    assert agreement.tau is None  # a single seed gives no significance


def test_pairs_in_the_other_order_and_ties_lower_tau():
    agreement = rank_agreement(VALUES, {"a": 4, "b": 3, "c": 3, "d": 3})
    assert (agreement.concordant, agreement.discordant, agreement.significant) == (0, 3, 5)
    assert agreement.tau == pytest.approx(-0.6)


def test_cells_without_a_score_help_to_estimate_the_noise_only():
    agreement = rank_agreement(VALUES | {"w/o": {0: 1.0, 1: 1.2}}, {"a": 1, "d": 2})
    assert (agreement.pairs, agreement.tau) == (1, 1.0)


@pytest.mark.parametrize("scores", [{}, {"a": 1.0}, {"x": 1.0, "y": 2.0}])
def test_fewer_than_two_cells_are_refused(scores):
    with pytest.raises(StudyError, match="fewer than two cells"):
        rank_agreement(VALUES, scores)
