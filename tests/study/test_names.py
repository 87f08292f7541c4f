import numpy as np
import pytest
from pydantic import TypeAdapter, ValidationError

from quatrain.specs import Spec, StudyError
from quatrain.study import Cell
from quatrain.study.names import LARGEST_SEED, Line, Text, check_seeds


@pytest.mark.parametrize("text", ["a", "w/o", "bias[0.1]", "-x", "größer", "平均", "a b", "*"])
def test_a_line_may_be_any_printable_text(text):
    assert TypeAdapter(Line).validate_python(text) == text


@pytest.mark.parametrize(
    "value",
    [0.1, None, b"a", "", " ", "a\0b", "a\nb", "a\tb", "\x1b[31m", "a\x85b", "a\u2028b", "a\udc80",
     "a" * 201],
)  # fmt: skip
def test_any_other_line_is_an_error_with_a_printable_text(value):
    with pytest.raises(StudyError) as error:
        Cell(name=value, group="g", spec=Spec())
    assert error.value.field == "Cell.name"
    assert str(error.value).isprintable()


def test_a_text_may_have_several_lines_and_be_empty():
    for text in ("Does it?\n\tOr not?", ""):
        assert TypeAdapter(Text).validate_python(text) == text


@pytest.mark.parametrize("value", ["a\0", "\r", 3, "a" * 10_001])
def test_a_text_has_limits_too(value):
    with pytest.raises(ValidationError):
        TypeAdapter(Text).validate_python(value)


@pytest.mark.parametrize(
    "seeds",
    [(0, LARGEST_SEED), [3], range(4), {1}, np.arange(3), (np.int64(5), np.uint8(6)), iter((1, 2))],
)
def test_seeds_are_whole_numbers_of_any_kind(seeds):
    checked = check_seeds(seeds)
    assert checked
    assert {type(each) for each in checked} == {int}


@pytest.mark.parametrize(
    "seeds",
    [
        5,
        "012",
        None,
        (2**64,),
        (10**5000,),
        (np.int64(-1),),
        (1.0,),
        (True,),
        (np.bool_(True),),
        ("1",),
        (),
        (0, np.int64(0)),
        range(20_000_000),
        iter(range(10_001)),
    ],
)
def test_other_seeds_are_an_error(seeds):
    with pytest.raises(StudyError) as error:
        check_seeds(seeds)
    assert error.value.field == "seeds"


@pytest.mark.slow
def test_torch_accepts_the_largest_seed():
    import torch

    assert torch.Generator().manual_seed(LARGEST_SEED).initial_seed() == LARGEST_SEED
    with pytest.raises(ValueError, match="Overflow"):
        torch.Generator().manual_seed(LARGEST_SEED + 1)
