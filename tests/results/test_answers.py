import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from quatrain.results.answers import LEVEL, _adjust, answer, level_at
from quatrain.results.fit import fit

DATA = json.loads((Path(__file__).parent / "data" / "multi30k_two_seeds.json").read_text())
P_VALUES = st.floats(0, 1)


def fitted(group):
    return fit({c: {int(s): v for s, v in own.items()} for c, own in DATA[group].items()})


def test_the_papers_first_finding_is_in_two_seeds_of_multi30k():
    """The difference of 1111 and 0111 is negligible in self-attention, and large across."""
    families = {
        group: [(fitted(group), {"1111": 1, c: -1}) for c in DATA[group] if c != "1111"]
        for group in DATA
    }
    verdicts = {
        group: dict(
            zip(
                [c for c in DATA[group] if c != "1111"],
                [a.verdict for a in answer(family, margin=0.5)],
                strict=True,
            )
        )
        for group, family in families.items()
    }
    assert verdicts["cross"] == dict.fromkeys(verdicts["cross"], "higher")
    assert {c: verdicts["self"][c] for c in ("w/o", "0010", "1000")} == dict.fromkeys(
        ("w/o", "0010", "1000"), "higher"
    )
    alone = answer([(fitted("self"), {"1111": 1, "0111": -1})], margin=0.5)[0]
    assert alone.verdict == "equivalent"


@given(st.lists(P_VALUES, min_size=1, max_size=8))
def test_without_a_margin_the_adjustment_is_holms(p_values):
    adjusted = [p for p, _ in _adjust([(p, None) for p in p_values])]
    assert adjusted == pytest.approx(multipletests(p_values, method="holm")[1])


@given(st.lists(st.tuples(P_VALUES, P_VALUES), min_size=1, max_size=8))
def test_adjusted_values_are_between_p_and_bonferroni(pairs):
    for pair, adjusted in zip(pairs, _adjust(pairs), strict=True):
        for p, q in zip(pair, adjusted, strict=True):
            assert q is not None
            assert p - 1e-12 <= q <= 1


def test_inconclusive_contrasts_say_how_many_seeds_would_do():
    values = {"a": {0: 1.0, 1: 2.0, 2: 1.4}, "b": {0: 1.9, 1: 2.1, 2: 2.5}}
    (found,) = answer([(fit(values), {"b": 1, "a": -1})])
    assert found.verdict == "inconclusive"
    assert found.further_seeds > 0


def test_lower_is_said_of_a_negative_contrast():
    values = {"a": {0: 1.0, 1: 1.1, 2: 1.2}, "b": {0: 9.0, 1: 9.2, 2: 9.1}}
    (found,) = answer([(fit(values), {"a": 1, "b": -1})])
    assert (found.verdict, found.further_seeds) == ("lower", None)


@pytest.mark.parametrize("margin", [None, 1.0])
def test_false_claims_of_a_family_are_at_most_five_percent(margin):
    """Five differences are zero or, if there is a margin, some lie exactly on it."""
    generator = np.random.default_rng(0)
    truth = np.array([0.0, 0.0, 0.0, 5.0, 1.0, 1.0]) if margin else np.zeros(6)
    wrong, studies = 0, 300
    for _ in range(studies):
        noise = generator.normal(scale=0.5, size=(7, 4)) + np.concatenate([[0.0], truth])[:, None]
        family = fit({f"c{n}": dict(enumerate(row.tolist())) for n, row in enumerate(noise)})
        answers = answer([(family, {f"c{n}": 1, "c0": -1}) for n in range(1, 7)], margin)
        wrong += any(
            (a.adjusted_p <= LEVEL and size == 0)
            or (margin is not None and a.adjusted_p_equivalent <= LEVEL and size >= margin)
            for a, size in zip(answers, truth, strict=True)
        )
    assert wrong / studies <= 0.08


def test_levels_of_all_looks_sum_to_at_most_the_level():
    looks = [3, 5, 8, 10]
    spent = [level_at(looks[:n], maximum=10) for n in range(1, 5)]
    assert sum(spent) == pytest.approx(LEVEL)
    assert level_at([10], maximum=10) == pytest.approx(LEVEL)
    assert level_at([10, 12], maximum=10) == 0


def test_without_a_maximum_each_further_look_halves_the_level():
    assert [level_at([3, 4, 5][:n]) for n in (1, 2, 3)] == pytest.approx(
        [LEVEL, LEVEL / 2, LEVEL / 4]
    )


def test_stopping_at_the_first_significant_look_keeps_its_level():
    """With a declared maximum; at the unspent level of 5 % about 16 % would be wrong."""
    generator = np.random.default_rng(1)
    wrong = naive = 0
    studies = 400
    for _ in range(studies):
        noise = generator.normal(size=(2, 10))
        p_values = [
            fit({c: dict(enumerate(noise[c, :n].tolist())) for c in (0, 1)})
            .contrast({0: 1, 1: -1})
            .p
            for n in range(3, 11)
        ]
        looks = list(range(3, 11))
        wrong += any(p <= level_at(looks[: n + 1], 10) for n, p in enumerate(p_values))
        naive += any(p <= LEVEL for p in p_values)
    assert wrong / studies <= 0.07
    assert naive / studies > 0.1
