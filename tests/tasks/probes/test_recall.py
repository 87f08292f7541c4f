import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import RecallSpec


def test_the_answer_is_the_value_of_the_one_token_of_that_name(drawn):
    probe = RecallSpec()
    for tokens, answers in zip(*drawn(probe), strict=True):
        by_name = {name: (place, value) for place, (value, name, _) in enumerate(tokens)}
        assert len(by_name) == probe.length
        for place, (_, _, asks) in enumerate(tokens):
            at, value = by_name[asks]
            assert answers[place] == value
            assert abs(at - place) >= probe.far


def test_all_that_are_far_enough_are_asked_alike(drawn):
    probe = RecallSpec(length=12, far=5)
    seen = [0] * probe.length
    for tokens in drawn(probe, 4000)[0]:
        names = [name for _, name, _ in tokens]
        seen[names.index(tokens[0][2])] += 1
    assert seen[:5] == [0] * 5
    assert all(count == pytest.approx(4000 / 7, rel=0.2) for count in seen[5:])


def test_a_sequence_too_short_to_ask_anybody_is_refused():
    with pytest.raises(SpecError, match=r"RecallSpec\.far"):
        RecallSpec(length=8, far=5)
