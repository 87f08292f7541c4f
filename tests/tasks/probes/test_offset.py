import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import IGNORE_INDEX, OffsetSpec


@pytest.mark.parametrize("distance", [-3, 0, 2])
def test_the_answer_is_the_value_at_the_distance(draw_lists, distance):
    probe = OffsetSpec(distance=distance)
    for tokens, answers in zip(*draw_lists(probe, 20), strict=True):
        for position, answer in enumerate(answers):
            target = position + distance
            inside = 0 <= target < probe.length
            assert answer == (tokens[target][0] if inside else IGNORE_INDEX)


def test_a_distance_outside_of_the_sequence_is_refused():
    with pytest.raises(SpecError) as raised:
        OffsetSpec(length=8, distance=-8)
    assert (raised.value.field, raised.value.value) == ("OffsetSpec.distance", -8)
