from collections import Counter

import numpy as np
import pytest
import torch

from quatrain.specs import InputError, SpecError
from quatrain.tasks.probes import (
    IGNORE_INDEX,
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    RecallSpec,
    SaliencySpec,
    Samples,
)
from quatrain.tasks.probes.questions import check_distance, most_common, validate

PROBES = (SaliencySpec(), OffsetSpec(), PointerSpec(), RecallSpec(), LocalitySpec())
EVERY_PROBE = pytest.mark.parametrize("probe", PROBES, ids=lambda p: p.kind)


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


def test_a_distance_beyond_the_largest_is_refused_either_way():
    check_distance(OffsetSpec(distance=-4), "distance", 4)
    with pytest.raises(SpecError) as raised:
        check_distance(OffsetSpec(distance=-5), "distance", 4)
    assert raised.value.field == "OffsetSpec.distance"


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
    assert error.field == name
    assert str(dtype) in str(error)


def test_answers_outside_of_the_values_or_of_another_shape_are_refused():
    assert "-1 to 3" in str(validation_error(values=3))
    assert "-2 to 2" in str(validation_error(answers=SAMPLES.answers - 1))
    assert "(2, 1)" in str(validation_error(answers=SAMPLES.answers[:, :1]))


def test_locality_answers_are_the_value_of_both_neighbors(draw_lists):
    for tokens, answers in zip(*draw_lists(LocalitySpec()), strict=True):
        for position, answer in enumerate(answers):
            if position % 3 != 1:
                assert answer == IGNORE_INDEX
                continue
            assert answer == tokens[position - 1][0] == tokens[position + 1][0]


@pytest.mark.parametrize("distance", [-3, 0, 2])
def test_offset_answers_are_the_values_at_the_distance(draw_lists, distance):
    probe = OffsetSpec(distance=distance)
    for tokens, answers in zip(*draw_lists(probe, 20), strict=True):
        for position, answer in enumerate(answers):
            target = position + distance
            inside = 0 <= target < probe.length
            assert answer == (tokens[target][0] if inside else IGNORE_INDEX)


DISTANCES = (-4, -3, -2, -1, 1, 2, 3, 4)


def test_pointer_answers_are_the_values_at_the_pointers(draw_lists):
    probe = PointerSpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        for position, answer in enumerate(answers):
            target = position + DISTANCES[tokens[position][1]]
            inside = 0 <= target < probe.length
            assert answer == (tokens[target][0] if inside else IGNORE_INDEX)


def test_one_distance_for_all_pointers_is_correct_once_in_eight_times(draw_lists):
    correct = total = 0
    for tokens, answers in zip(*draw_lists(PointerSpec()), strict=True):
        for position in range(4, 28):
            correct += answers[position] == tokens[position + 2][0]
            total += 1
    assert correct / total == pytest.approx(1 / 8 + 7 / 8 / 32, abs=0.02)


def test_recall_answers_are_the_values_of_the_named_tokens(draw_lists):
    probe = RecallSpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        by_name = {name: (position, value) for position, (value, name, _) in enumerate(tokens)}
        assert len(by_name) == probe.length
        for position, (_, _, query) in enumerate(tokens):
            target, value = by_name[query]
            assert answers[position] == value
            assert abs(target - position) >= probe.far


def test_recall_queries_all_tokens_that_are_far_enough_equally_often(draw_lists):
    probe = RecallSpec(length=12, far=5)
    counts = [0] * probe.length
    for tokens in draw_lists(probe, 4000)[0]:
        names = [name for _, name, _ in tokens]
        counts[names.index(tokens[0][2])] += 1
    assert counts[:5] == [0] * 5
    assert all(count == pytest.approx(4000 / 7, rel=0.2) for count in counts[5:])


def test_saliency_answers_are_the_value_of_the_marked_token(draw_lists):
    probe = SaliencySpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        (marked,) = [position for position, (_, mark) in enumerate(tokens) if mark]
        for position, answer in enumerate(answers):
            far = abs(position - marked) >= probe.far
            assert answer == (tokens[marked][0] if far else IGNORE_INDEX)


def test_the_mark_of_saliency_is_never_near_the_ends(draw_lists):
    sequences = draw_lists(SaliencySpec(), 2000)[0]
    assert {[mark for _, mark in tokens].index(1) for tokens in sequences} == set(range(4, 28))


@pytest.mark.parametrize(
    ("probe", "fields"),
    [
        (LocalitySpec, {"length": 2}),
        (LocalitySpec, {"length": 16}),
        (OffsetSpec, {"distance": -8, "length": 8}),
        (PointerSpec, {"reach": 8, "length": 8}),
        (RecallSpec, {"far": 5, "length": 8}),
        (SaliencySpec, {"far": 5, "length": 8}),
    ],
)
def test_questions_without_answers_are_refused(probe, fields):
    name = next(iter(fields))
    with pytest.raises(SpecError) as raised:
        probe(**fields)
    assert raised.value.field == f"{probe.__name__}.{name}"
