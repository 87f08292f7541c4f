import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import UNASKED, OffsetSpec


@pytest.mark.parametrize("distance", [-3, 0, 2])
def test_the_answer_is_the_value_at_the_distance_where_there_is_one(drawn, distance):
    probe = OffsetSpec(distance=distance)
    for tokens, answers in zip(*drawn(probe, 20), strict=True):
        for place, answer in enumerate(answers):
            at = place + distance
            assert answer == (tokens[at][0] if 0 <= at < probe.length else UNASKED)


def test_a_distance_out_of_the_sequence_is_refused():
    with pytest.raises(SpecError, match=r"OffsetSpec\.distance is -8"):
        OffsetSpec(length=8, distance=-8)
