import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import UNASKED, LocalitySpec


def test_the_middle_of_each_three_is_asked_for_what_both_its_neighbours_hold(drawn):
    for tokens, answers in zip(*drawn(LocalitySpec()), strict=True):
        for place, answer in enumerate(answers):
            if place % 3 != 1:
                assert answer == UNASKED
                continue
            assert answer == tokens[place - 1][0] == tokens[place + 1][0]


@pytest.mark.parametrize(("length", "remedy"), [(2, "use 3 or 6"), (16, "use 15 or 18")])
def test_a_sequence_that_is_not_made_of_threes_is_refused(length, remedy):
    with pytest.raises(SpecError, match=remedy):
        LocalitySpec(length=length)
