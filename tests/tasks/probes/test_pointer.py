import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import IGNORE_INDEX, PointerSpec

DISTANCES = (-4, -3, -2, -1, 1, 2, 3, 4)


def test_the_answer_is_the_value_at_the_pointer(draw_lists):
    probe = PointerSpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        for position, answer in enumerate(answers):
            target = position + DISTANCES[tokens[position][1]]
            inside = 0 <= target < probe.length
            assert answer == (tokens[target][0] if inside else IGNORE_INDEX)


def test_one_distance_for_all_tokens_is_correct_once_in_eight_times(draw_lists):
    correct = total = 0
    for tokens, answers in zip(*draw_lists(PointerSpec()), strict=True):
        for position in range(4, 28):
            correct += answers[position] == tokens[position + 2][0]
            total += 1
    assert correct / total == pytest.approx(1 / 8 + 7 / 8 / 32, abs=0.02)


def test_a_reach_longer_than_the_sequence_is_refused():
    with pytest.raises(SpecError) as raised:
        PointerSpec(length=8, reach=8)
    assert (raised.value.field, raised.value.value) == ("PointerSpec.reach", 8)
