import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.results.text import storable

ANY_TEXT = st.text(st.characters())  # with lone surrogates


@given(ANY_TEXT)
def test_storable_text_can_be_encoded_and_stays_as_it_is(text):
    stored = storable(text)
    assert stored.encode().decode() == stored
    assert storable(stored) == stored


@pytest.mark.parametrize("text", ["", "plain", "é 漢 😀", "a\x00b\x1b[1m\n"])
def test_text_that_is_fine_is_not_touched(text):
    assert storable(text) == text


@pytest.mark.parametrize(
    ("text", "stored"),
    [("caf\udce9", "caf\\udce9"), ("\ud83d", "\\ud83d"), ("\ude00\ud83d", "\\ude00\\ud83d")],
)
def test_lone_surrogates_are_written_out(text, stored):
    assert storable(text) == stored


@given(st.text(st.characters(), min_size=60), st.integers(100, 200), st.integers(1, 2_000))
def test_of_a_long_text_both_ends_stay_within_the_limit(text, limit, times):
    text = storable(text * times)
    stored = storable(text, limit)
    assert len(stored) <= limit
    assert storable(stored, limit) == stored
    if len(text) > limit:
        kept = (limit - 50) // 2
        assert stored[:kept] + stored[-kept:] == text[:kept] + text[-kept:]
        assert f"{len(text) - 2 * kept:,} characters left out" in stored
    else:
        assert stored == text
