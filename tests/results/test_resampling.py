from functools import partial

import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample, estimate_ci

from quatrain.results import resampling
from quatrain.results.resampling import RESAMPLES, SEED, Interval, interval, resampled_scores
from quatrain.specs import InputError

WORDS = ["a", "the", "dog", "cat", "man", "runs", "sees", "red", "on", "street"]


def texts(seed, noise, count=120):
    """References, and hypotheses that differ from them in a share of their words."""
    draw = np.random.default_rng(seed)
    references = [
        " ".join(np.random.default_rng(n).choice(WORDS, size=5 + n % 9)) for n in range(count)
    ]
    hypotheses = [
        " ".join(w if draw.random() > noise else "x" for w in line.split()) for line in references
    ]
    return hypotheses, references


def scores_of(values):
    """The means of the values of each run in the resamples."""
    (examples,) = {len(own) for own in values.values()}
    means = {name: lambda times, own=own: times @ own / examples for name, own in values.items()}
    return resampled_scores(means, examples)


def test_the_scores_of_bleu_are_those_of_sacrebleu_on_the_same_hypotheses(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    (left, references), (right, _) = texts(1, 0.2), texts(2, 0.3)
    metric = BLEU()
    statistics = {
        name: np.array(metric._extract_corpus_statistics(own, [references]), dtype=float)
        for name, own in (("left", left), ("right", right))
    }

    def bleu(times, own):
        return [metric._compute_score_from_stats(sums.tolist()).score for sums in times @ own]

    scores = resampled_scores(
        {name: partial(bleu, own=own) for name, own in statistics.items()}, len(references)
    )
    _, expected = _bootstrap_resample(statistics["left"].tolist(), metric, RESAMPLES)
    assert scores["left"].tolist() == pytest.approx([each.score for each in expected], abs=1e-5)
    systems = [("left", left), ("right", right)]
    _, results = PairedTest(systems, {"BLEU": metric}, [references], test_type="bs")()
    ours, theirs = scores["right"], results["BLEU"][1]
    assert (theirs.mean, theirs.ci) == pytest.approx(estimate_ci(ours), abs=1e-6)
    spread = np.abs(ours - scores["left"])
    observed = abs(theirs.score - results["BLEU"][0].score)
    p = (np.sum(spread - spread.mean() > observed) + 1) / (RESAMPLES + 1)
    assert theirs.p_value == pytest.approx(p)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    values = np.random.default_rng(0).normal(3, 2, size=2000)
    found = interval(scores_of({"a": values}), {"a": 1.0})
    half = 1.96 * values.std() / len(values) ** 0.5
    assert found.low == pytest.approx(values.mean() - half, abs=0.015)
    assert found.high == pytest.approx(values.mean() + half, abs=0.015)


def test_the_resamples_are_paired():
    """Of two runs with equal errors on each example, the difference has no test-set noise."""
    values = np.random.default_rng(0).normal(size=100)
    scores = scores_of({"a": values, "b": values - 0.5})
    found = interval(scores, {"a": 1.0, "b": -1.0})
    assert (found.low, found.high) == pytest.approx((0.5, 0.5))
    assert interval(scores, {"a": 1.0}).high - interval(scores, {"a": 1.0}).low > 0.3


def test_the_result_is_reproducible():
    values = np.random.default_rng(0).normal(size=50)
    first, second = (interval(scores_of({"a": values}), {"a": 1.0}) for _ in range(2))
    assert first == second
    assert isinstance(first, Interval)


def test_a_mean_over_seeds_averages_the_scores_of_the_same_resample():
    values = {name: np.random.default_rng(n).normal(size=60) for n, name in enumerate("abc")}
    scores = scores_of(values)
    both = scores_of({"mean": (values["a"] + values["b"]) / 2, "c": values["c"]})
    left = interval(scores, {"a": 0.5, "b": 0.5, "c": -1.0})
    right = interval(both, {"mean": 1.0, "c": -1.0})
    assert (left.low, left.high) == pytest.approx((right.low, right.high))


def test_one_example_has_no_noise():
    assert interval(scores_of({"a": np.array([2.0])}), {"a": 1.0}) == Interval(2.0, 2.0)


def test_resamples_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    values = {"a": np.random.default_rng(0).normal(size=50)}
    expected = scores_of(values)["a"]
    monkeypatch.setattr(resampling, "_LARGEST", 120)
    assert scores_of(values)["a"].tolist() == pytest.approx(expected.tolist(), abs=1e-12)


def test_an_empty_test_set_is_refused():
    with pytest.raises(InputError, match="examples=0") as error:
        resampled_scores({}, 0)
    assert error.value.field == "examples"
