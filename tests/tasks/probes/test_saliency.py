import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import IGNORE_INDEX, SaliencySpec


def test_tokens_far_enough_away_ask_for_the_value_of_the_marked_token(draw_lists):
    probe = SaliencySpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        (marked,) = [position for position, (_, mark) in enumerate(tokens) if mark]
        for position, answer in enumerate(answers):
            far = abs(position - marked) >= probe.far
            assert answer == (tokens[marked][0] if far else IGNORE_INDEX)


def test_the_mark_is_never_near_the_ends(draw_lists):
    sequences = draw_lists(SaliencySpec(), 2000)[0]
    assert {[mark for _, mark in tokens].index(1) for tokens in sequences} == set(range(4, 28))


def test_a_sequence_too_short_for_the_distance_is_refused():
    with pytest.raises(SpecError) as raised:
        SaliencySpec(length=8, far=5)
    assert raised.value.field == "SaliencySpec.far"
