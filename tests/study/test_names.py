import numpy as np
import pytest

from quatrain.specs import StudyError
from quatrain.study.names import LARGEST_SEED, check_line, check_number, check_seeds, check_text


@pytest.mark.parametrize("text", ["a", "w/o", "bias[0.1]", "-x", "größer", "平均", "a b", "*"])
def test_a_line_may_be_any_printable_text(text):
    check_line("name", text)


@pytest.mark.parametrize(
    "value",
    [0.1, None, b"a", "", " ", "a\0b", "a\nb", "a\tb", "\x1b[31m", "a\x85b", "a\u2028b", "a\udc80",
     "a" * 201],
)  # fmt: skip
def test_any_other_line_is_an_error_with_a_printable_text(value):
    with pytest.raises(StudyError) as error:
        check_line("name", value)
    assert error.value.field == "name"
    assert str(error.value).isprintable()


def test_a_text_may_have_several_lines_and_be_empty():
    check_text("question", "Does it?\n\tOr not?")
    check_text("question", "")


@pytest.mark.parametrize("value", ["a\0", "\r", 3, "a" * 10_001])
def test_a_text_has_limits_too(value):
    with pytest.raises(StudyError):
        check_text("question", value)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 10**400, "1", True, None])
def test_only_finite_numbers_are_numbers(value):
    with pytest.raises(StudyError) as error:
        check_number("published", value)
    assert error.value.field == "published"


@pytest.mark.parametrize(
    "seeds",
    [(0, LARGEST_SEED), [3], range(4), {1}, np.arange(3), (np.int64(5), np.uint8(6)), iter((1, 2))],
)
def test_seeds_are_whole_numbers_of_any_kind(seeds):
    checked = check_seeds(seeds)
    assert checked
    assert {type(each) for each in checked} == {int}


@pytest.mark.parametrize(
    ("seeds", "field"),
    [
        (5, "seeds"),
        ("012", "seeds"),
        (None, "seeds"),
        ((2**64,), "seed"),
        ((10**5000,), "seed"),
        ((np.int64(-1),), "seed"),
        ((1.0,), "seed"),
        ((True,), "seed"),
        ((np.bool_(True),), "seed"),
        (("1",), "seed"),
        ((), "seeds"),
        ((0, np.int64(0)), "seeds"),
        (range(20_000_000), "the number of seeds"),
        (iter(range(10_001)), "the number of seeds"),
    ],
)
def test_other_seeds_are_an_error(seeds, field):
    with pytest.raises(StudyError) as error:
        check_seeds(seeds)
    assert error.value.field == field


@pytest.mark.slow
def test_torch_accepts_the_largest_seed():
    import torch

    assert torch.Generator().manual_seed(LARGEST_SEED).initial_seed() == LARGEST_SEED
    with pytest.raises(ValueError, match="Overflow"):
        torch.Generator().manual_seed(LARGEST_SEED + 1)
