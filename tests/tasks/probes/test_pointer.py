import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import UNASKED, PointerSpec

DISTANCES = (-4, -3, -2, -1, 1, 2, 3, 4)


def test_the_answer_is_the_value_that_the_token_points_at(drawn):
    probe = PointerSpec()
    for tokens, answers in zip(*drawn(probe), strict=True):
        for place, answer in enumerate(answers):
            at = place + DISTANCES[tokens[place][1]]
            assert answer == (tokens[at][0] if 0 <= at < probe.length else UNASKED)


def test_to_read_one_distance_always_is_right_once_in_eight_times(drawn):
    right = asked = 0
    for tokens, answers in zip(*drawn(PointerSpec()), strict=True):
        for place in range(4, 28):
            right += answers[place] == tokens[place + 2][0]
            asked += 1
    assert right / asked == pytest.approx(1 / 8 + 7 / 8 / 32, abs=0.02)


def test_a_pointer_longer_than_the_sequence_is_refused():
    with pytest.raises(SpecError, match=r"PointerSpec\.reach is 8"):
        PointerSpec(length=8, reach=8)
