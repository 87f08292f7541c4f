import pytest

from quatrain.specs import SpecError
from quatrain.tasks.probes import IGNORE_INDEX, LocalitySpec


def test_the_answer_of_a_middle_token_is_the_value_of_both_neighbors(draw_lists):
    for tokens, answers in zip(*draw_lists(LocalitySpec()), strict=True):
        for position, answer in enumerate(answers):
            if position % 3 != 1:
                assert answer == IGNORE_INDEX
                continue
            assert answer == tokens[position - 1][0] == tokens[position + 1][0]


@pytest.mark.parametrize(("length", "multiples"), [(2, "3 or 6"), (16, "15 or 18")])
def test_the_length_must_be_a_multiple_of_three(length, multiples):
    with pytest.raises(SpecError) as raised:
        LocalitySpec(length=length)
    assert (raised.value.field, raised.value.value) == ("LocalitySpec.length", length)
    assert multiples in raised.value.remedy
