import typing
from collections import Counter

import numpy as np
import pytest
import torch

from quatrain.specs import InputError, SpecError
from quatrain.tasks.probes import UNASKED, Probe
from quatrain.tasks.probes.sample import Samples, check_far, checked, commonest

EVERY = pytest.mark.parametrize(
    "probe", [kind() for kind in typing.get_args(typing.get_args(Probe)[0])], ids=lambda p: p.kind
)


@EVERY
def test_a_drawing_is_a_function_of_the_random_numbers(probe):
    first, again, other = (
        probe.draw(np.random.default_rng(seed), 5) for seed in ((1, 2), (1, 2), (1, 3))
    )
    assert torch.equal(first.tokens, again.tokens)
    assert torch.equal(first.answers, again.answers)
    assert not torch.equal(first.tokens, other.tokens)


@EVERY
def test_each_feature_takes_the_numbers_that_it_may_and_all_of_them(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 200)
    assert tokens.shape == (200, probe.length, len(probe.features))
    assert answers.shape == (200, probe.length)
    for feature, kinds in enumerate(probe.features):
        assert set(tokens[..., feature].flatten().tolist()) == set(range(kinds))
    assert set(answers.flatten().tolist()) <= {UNASKED, *range(probe.values)}


@EVERY
def test_no_place_is_told_by_its_values_or_by_its_answers(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 4000)
    for drawn in (tokens[..., 0], answers):
        for place in range(probe.length):
            found = Counter(drawn[:, place][answers[:, place] != UNASKED].tolist())
            total = sum(found.values())
            if total:
                spread = sum((found[v] - total / probe.values) ** 2 for v in range(probe.values))
                chi_squared = spread / (total / probe.values)
                assert chi_squared < 85, place  # one in a million with 31 degrees of freedom


@EVERY
def test_a_blind_guess_is_right_once_in_as_many_times_as_there_are_values(probe):
    answers = probe.draw(np.random.default_rng(0), 4000).answers
    asked = answers[answers != UNASKED]
    for guess in (0, 7, 31):
        assert float((asked == guess).double().mean()) == pytest.approx(1 / 32, abs=0.012)


@EVERY
def test_the_own_value_of_who_asks_tells_nothing(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 2000)
    asked = answers != UNASKED
    own = float((tokens[..., 0] == answers)[asked].double().mean())
    assert own == pytest.approx(1 / 32, abs=0.012)


def test_the_commonest_value_is_found_row_by_row():
    assert commonest(torch.tensor([[0, 2, 2, 1], [1, 1, 0, 2]]), 3).tolist() == [2, 1]


def test_a_distance_that_the_middle_token_cannot_keep_is_refused():
    check_far("far", 4, 8)
    with pytest.raises(SpecError, match="far is 5, expected at most half of the 8 tokens"):
        check_far("far", 5, 8)


PART = Samples(torch.tensor([[[3], [1]], [[0], [2]]]), torch.tensor([[1, UNASKED], [UNASKED, 3]]))


@pytest.mark.parametrize("kind", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_samples_of_every_signed_type_are_those_of_int64(kind):
    found = checked(Samples(*(each.to(kind) for each in PART)), 4)
    assert all(map(torch.equal, found, PART))
    assert found.answers.dtype == torch.int64


@pytest.mark.parametrize("kind", [torch.uint8, torch.bool, torch.float32])
def test_samples_of_a_type_that_does_not_hold_unasked_are_refused(kind):
    for name in Samples._fields:
        with pytest.raises(InputError, match=f'{name} is "{kind}", expected a signed integer'):
            checked(PART._replace(**{name: getattr(PART, name).to(kind)}), 4)


def test_answers_that_are_no_values_or_of_another_shape_are_refused():
    with pytest.raises(InputError, match='answers is "-1 to 3", expected 0 to 2, or -1'):
        checked(PART, 3)
    with pytest.raises(InputError, match='answers is "-2 to'):
        checked(PART._replace(answers=PART.answers - 1), 4)
    with pytest.raises(InputError, match=r"the shape of answers is \(2, 1\), expected \(2, 2\)"):
        checked(PART._replace(answers=PART.answers[:, :1]), 4)
