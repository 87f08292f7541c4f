import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import UNASKED, SaliencySpec


def test_who_stands_far_enough_is_asked_for_the_value_of_the_one_marked_token(drawn):
    probe = SaliencySpec()
    for tokens, answers in zip(*drawn(probe), strict=True):
        (marked,) = [place for place, (_, mark) in enumerate(tokens) if mark]
        for place, answer in enumerate(answers):
            asked = abs(place - marked) >= probe.far
            assert answer == (tokens[marked][0] if asked else UNASKED)


def test_the_mark_keeps_away_from_the_ends(drawn):
    marked = {[mark for _, mark in tokens].index(1) for tokens in drawn(SaliencySpec(), 2000)[0]}
    assert marked == set(range(4, 28))


def test_a_sequence_too_short_to_ask_anybody_is_refused():
    with pytest.raises(SpecError, match=r"SaliencySpec\.far"):
        SaliencySpec(length=8, far=5)
