import typing
from collections import Counter

import numpy as np
import pytest
import torch

from quatrain.specs import InputError, SpecError
from quatrain.tasks.probes import IGNORE_INDEX, Probe
from quatrain.tasks.probes.base import Samples, check_far, most_common, validate

EVERY_PROBE = pytest.mark.parametrize(
    "probe", [kind() for kind in typing.get_args(typing.get_args(Probe)[0])], ids=lambda p: p.kind
)


@EVERY_PROBE
def test_samples_are_a_function_of_the_random_numbers(probe):
    first, same, other = (
        probe.draw(np.random.default_rng(seed), 5) for seed in ((1, 2), (1, 2), (1, 3))
    )
    assert torch.equal(first.tokens, same.tokens)
    assert torch.equal(first.answers, same.answers)
    assert not torch.equal(first.tokens, other.tokens)


@EVERY_PROBE
def test_each_feature_takes_all_its_values(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 200)
    assert tokens.shape == (200, probe.length, len(probe.features))
    assert answers.shape == (200, probe.length)
    for feature, number in enumerate(probe.features):
        assert set(tokens[..., feature].flatten().tolist()) == set(range(number))
    assert set(answers.flatten().tolist()) <= {IGNORE_INDEX, *range(probe.values)}


@EVERY_PROBE
def test_values_and_answers_are_uniform_at_each_position(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 4000)
    for values in (tokens[..., 0], answers):
        for position in range(probe.length):
            mask = answers[:, position] != IGNORE_INDEX
            counts = Counter(values[:, position][mask].tolist())
            mean = sum(counts.values()) / probe.values
            if mean:
                squares = sum((counts[value] - mean) ** 2 for value in range(probe.values))
                assert squares / mean < 85, position  # p = 1e-6 with 31 degrees of freedom


@EVERY_PROBE
def test_a_random_guess_is_correct_once_in_the_number_of_values(probe):
    answers = probe.draw(np.random.default_rng(0), 4000).answers
    labels = answers[answers != IGNORE_INDEX]
    for guess in (0, 7, 31):
        assert float((labels == guess).double().mean()) == pytest.approx(1 / 32, abs=0.012)


@EVERY_PROBE
def test_the_answer_is_independent_of_the_own_value(probe):
    tokens, answers = probe.draw(np.random.default_rng(0), 2000)
    equal = (tokens[..., 0] == answers)[answers != IGNORE_INDEX]
    assert float(equal.double().mean()) == pytest.approx(1 / 32, abs=0.012)


def test_the_most_common_value_of_each_row():
    assert most_common(torch.tensor([[0, 2, 2, 1], [1, 1, 0, 2]]), 3).tolist() == [2, 1]


def test_a_distance_over_half_the_length_is_refused():
    check_far("far", 4, 8)
    with pytest.raises(SpecError) as raised:
        check_far("far", 5, 8)
    assert (raised.value.field, raised.value.value) == ("far", 5)


SAMPLES = Samples(
    torch.tensor([[[3], [1]], [[0], [2]]]),
    torch.tensor([[1, IGNORE_INDEX], [IGNORE_INDEX, 3]]),
)


@pytest.mark.parametrize("dtype", [torch.int8, torch.int16, torch.int32, torch.int64])
def test_samples_of_every_signed_type_become_int64(dtype):
    samples = validate(Samples(*(tensor.to(dtype) for tensor in SAMPLES)), 4)
    assert all(map(torch.equal, samples, SAMPLES))
    assert samples.answers.dtype == torch.int64


def validation_error(values=4, **changes):
    with pytest.raises(InputError) as raised:
        validate(SAMPLES._replace(**changes), values)
    return raised.value


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bool, torch.float32])
@pytest.mark.parametrize("name", Samples._fields)
def test_samples_of_another_type_are_refused(dtype, name):
    error = validation_error(**{name: getattr(SAMPLES, name).to(dtype)})
    assert (error.field, error.value) == (name, str(dtype))


def test_answers_outside_of_the_values_or_of_another_shape_are_refused():
    assert validation_error(values=3).value == "-1 to 3"
    assert validation_error(answers=SAMPLES.answers - 1).value == "-2 to 2"
    assert validation_error(answers=SAMPLES.answers[:, :1]).value == (2, 1)
