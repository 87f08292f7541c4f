import numpy as np
import pytest

from quatrain.specs import StudyError
from quatrain.study.names import LARGEST_SEED, check_line, check_number, check_text, seeds_of


@pytest.mark.parametrize("text", ["a", "w/o", "bias[0.1]", "-x", "größer", "平均", "a b", "*"])
def test_a_line_may_be_any_text_that_can_be_shown(text):
    check_line("name", text)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        (0.1, r'name is 0\.1, expected a text: write it in quotes, as "0\.1"'),
        (None, "name is None, expected a text"),
        (b"a", "expected a text"),
        ("", "not empty"),
        (" ", "not empty"),
        ("a\0b", r"remove '\\x00'"),
        ("a\nb", r"remove '\\n'"),
        ("a\tb", r"remove '\\t'"),
        ("\x1b[31m", r"remove '\\x1b'"),
        ("a\x85b", r"remove '\\x85'"),
        ("a\u2028b", r"remove '\\u2028'"),
        ("a\udc80", r"remove '\\udc80'"),
        ("a" * 201, "at most 200 characters, not 201"),
    ],
)
def test_a_line_that_no_reader_can_show_is_one_sentence(value, sentence):
    with pytest.raises(StudyError, match=sentence) as caught:
        check_line("name", value)
    assert str(caught.value).isprintable()


def test_a_text_may_have_several_lines_and_be_empty():
    check_text("question", "Does it?\n\tOr not?")
    check_text("question", "")


@pytest.mark.parametrize("value", ["a\0", "\r", 3, "a" * 10_001])
def test_a_text_has_limits_too(value):
    with pytest.raises(StudyError):
        check_text("question", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", True, None])
def test_what_is_no_finite_number_is_refused(value):
    with pytest.raises(StudyError, match="a finite number"):
        check_number("published", value)


@pytest.mark.parametrize(
    "seeds",
    [(0, LARGEST_SEED), [3], range(4), {1}, np.arange(3), (np.int64(5), np.uint8(6)), iter((1, 2))],
)
def test_seeds_are_whole_numbers_of_any_kind(seeds):
    found = seeds_of(seeds)
    assert found
    assert {type(each) for each in found} == {int}


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        (5, r"seeds is 5, expected a list of whole numbers: write seeds=\[\.\.\.\]"),
        ("012", "a list of whole numbers"),
        (None, "a list of whole numbers"),
        ((2**64,), "a whole number from 0 to 18446744073709551615"),
        ((10**5000,), "a whole number from 0 to 18446744073709551615"),
        ((-1,), "a whole number from 0"),
        ((np.int64(-1),), "a whole number from 0"),
        ((1.0,), "a whole number from 0"),
        ((True,), "a whole number from 0"),
        ((np.bool_(True),), "a whole number from 0"),
        (("1",), "a whole number from 0"),
        ((), "at least one seed"),
        ((0, 0), "each seed once"),
        ((0, np.int64(0)), "each seed once"),
        (range(20_000_000), 'the number of seeds is "20,000,000", expected at most 10,000'),
        (iter(range(10_001)), "at most 10,000"),
    ],
)
def test_other_seeds_are_one_sentence(seeds, sentence):
    with pytest.raises(StudyError, match=sentence):
        seeds_of(seeds)


def test_torch_takes_the_largest_seed():
    import torch

    assert torch.Generator().manual_seed(LARGEST_SEED).initial_seed() == LARGEST_SEED
    with pytest.raises(ValueError, match="Overflow"):
        torch.Generator().manual_seed(LARGEST_SEED + 1)
