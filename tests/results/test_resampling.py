import numpy as np
import pytest
from sacrebleu.metrics.bleu import BLEU
from sacrebleu.significance import PairedTest, _bootstrap_resample, estimate_ci

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


def mean(sums):
    return float(sums[0] / sums[1])


def scores_of(values):
    return resampled_scores(
        {name: np.stack([own, np.ones(len(own))], axis=1) for name, own in values.items()}, mean
    )


def test_the_scores_of_bleu_are_those_of_sacrebleu_on_the_same_hypotheses(monkeypatch):
    monkeypatch.setenv("SACREBLEU_SEED", str(SEED))
    (left, references), (right, _) = texts(1, 0.2), texts(2, 0.3)
    metric = BLEU()
    statistics = {
        name: np.array(metric._extract_corpus_statistics(own, [references]), dtype=float)
        for name, own in (("left", left), ("right", right))
    }
    scores = resampled_scores(
        statistics, lambda sums: metric._compute_score_from_stats(sums.tolist()).score
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


@pytest.mark.parametrize(
    "statistics",
    [{}, {"a": np.ones((0, 2))}, {"a": np.ones((3, 2)), "b": np.ones((4, 2))}],
    ids=["no run", "no example", "unequal"],
)
def test_runs_need_the_same_examples(statistics):
    with pytest.raises(InputError) as error:
        resampled_scores(statistics, mean)
    assert error.value.field == "statistics"
