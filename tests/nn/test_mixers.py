import pytest
from hypothesis import given
from hypothesis import strategies as st

from laws import term_sets
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError


@given(term_sets, st.none() | st.integers(0, 50).map(lambda n: 2 * n + 1))
def test_the_notation_of_the_paper_is_read(terms, window):
    text = str(terms) if window is None else f"{terms}@{window}"
    mixer = parse_mixer(text, heads=4)
    assert (mixer.terms, mixer.window, mixer.heads) == (terms, window, 4)


def test_without_is_no_mixer():
    assert parse_mixer("w/o") is None


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("1201", 'terms is "1201", expected four digits'),
        ("111", 'terms is "111", expected four digits'),
        ("0100@", 'mixer is "0100@", expected terms'),
        ("0100@x", 'mixer is "0100@x", expected terms'),
        ("0100@30", "window is 30, expected an odd number: use 29 or 31"),
        ("0100@0", "AttentionSpec.window is 0, expected"),
    ],
)
def test_anything_else_is_refused_in_a_sentence(text, sentence):
    with pytest.raises(SpecError, match=sentence):
        parse_mixer(text)
