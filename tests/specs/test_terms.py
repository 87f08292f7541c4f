import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import ALL_TERM_SETS, SpecError, Term

term_sets = st.sampled_from(ALL_TERM_SETS)


def test_there_are_sixteen_sets_in_the_order_of_their_digits():
    written = [str(terms) for terms in ALL_TERM_SETS]
    assert written == sorted(set(written))
    assert (len(written), written[0], written[-1]) == (16, "0000", "1111")


def test_the_digits_are_E1_E2_E3_E4():
    each = [Term.QUERY_KEY, Term.QUERY_POSITION, Term.KEY, Term.POSITION]
    assert [str(term) for term in each] == ["1000", "0100", "0010", "0001"]


@given(term_sets)
def test_a_set_is_read_back_from_its_digits(terms):
    assert Term.parse(str(terms)) == terms


@given(term_sets, term_sets)
def test_union_and_intersection_are_those_of_the_digits(left, right):
    pairs = list(zip(str(left), str(right), strict=True))
    assert str(left | right) == "".join(max(pair) for pair in pairs)
    assert str(left & right) == "".join(min(pair) for pair in pairs)


@given(term_sets)
def test_the_factors_of_a_set_follow_from_its_digits(terms):
    e1, e2, e3, e4 = (digit == "1" for digit in str(terms))
    assert terms.use_content == (e1 or e3)
    assert terms.use_position == (e2 or e4)
    assert terms.use_query == (e1 or e2)
    assert [terms.has(term) for term in Term] == [e1, e2, e3, e4]


@pytest.mark.parametrize("text", ["1201", "111", "11111", "", "E2+E3", " 0110", "0110\n", "٠١١٠"])
def test_a_text_other_than_four_digits_of_0_and_1_is_refused(text):
    with pytest.raises(SpecError) as caught:
        Term.parse(text)
    assert caught.value.field == "terms"
    assert repr(text) in str(caught.value)
