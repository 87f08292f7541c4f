import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import RecallSpec


def test_the_answer_is_the_value_of_the_only_token_of_that_name(draw_lists):
    probe = RecallSpec()
    for tokens, answers in zip(*draw_lists(probe), strict=True):
        by_name = {name: (position, value) for position, (value, name, _) in enumerate(tokens)}
        assert len(by_name) == probe.length
        for position, (_, _, query) in enumerate(tokens):
            target, value = by_name[query]
            assert answers[position] == value
            assert abs(target - position) >= probe.far


def test_all_tokens_that_are_far_enough_are_equally_likely(draw_lists):
    probe = RecallSpec(length=12, far=5)
    counts = [0] * probe.length
    for tokens in draw_lists(probe, 4000)[0]:
        names = [name for _, name, _ in tokens]
        counts[names.index(tokens[0][2])] += 1
    assert counts[:5] == [0] * 5
    assert all(count == pytest.approx(4000 / 7, rel=0.2) for count in counts[5:])


def test_a_sequence_too_short_for_the_distance_is_refused():
    with pytest.raises(SpecError) as raised:
        RecallSpec(length=8, far=5)
    assert raised.value.field == "RecallSpec.far"
