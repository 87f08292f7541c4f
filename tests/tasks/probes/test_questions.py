import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import (
    IGNORE_INDEX,
    LocalitySpec,
    OffsetSpec,
    PointerSpec,
    RecallSpec,
    SaliencySpec,
)


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
    name, value = next(iter(fields.items()))
    with pytest.raises(SpecError) as raised:
        probe(**fields)
    assert (raised.value.field, raised.value.value) == (f"{probe.__name__}.{name}", value)
