import pytest
import torch
from torch import nn

from quatrain.insertion.arguments import (
    Parameters,
    Reads,
    height_and_width,
    parameters_of,
    refuse_unread,
)
from quatrain.insertion.wrappers import InsertionWrapper
from quatrain.specs import InputError


class Place(nn.Module):
    def forward(self, x, mask=None, *, scale=2.0):
        return x if mask is None else x * mask * scale


def test_arguments_are_known_by_name_however_they_are_passed_and_the_first_comes_first():
    parameters = parameters_of(Place())
    assert parameters.by_name((1, 2), {"scale": 3}) == {"x": 1, "mask": 2, "scale": 3}
    assert list(parameters.by_name((), {"mask": 2, "x": 1}).items()) == [("x", 1), ("mask", 2)]
    assert Parameters().by_name((1, 2), {}) == {"argument 1": 1, "argument 2": 2}


def test_a_wrapper_takes_the_arguments_of_its_place():
    place = Place()
    wrapper = InsertionWrapper(
        place, nn.Identity(), "after", "channels_last", Reads(parameters_of(place))
    )
    assert parameters_of(wrapper) == parameters_of(place)


@pytest.mark.parametrize(
    ("name", "value", "unset"),
    [
        ("mask", None, True),
        ("mask", False, True),
        ("scale", 2.0, True),
        ("scale", 3.0, False),
        ("scale", 2, False),
        ("mask", torch.zeros(1), False),
        ("other", "x", False),
    ],
)
def test_an_argument_at_its_default_says_nothing(name, value, unset):
    assert parameters_of(Place()).unset(name, value) is unset


def test_arguments_that_are_not_read_are_named():
    x = torch.ones(1)
    assert refuse_unread(x, {"rope": None, "flag": False}) is x
    with pytest.raises(InputError, match=r"rope is .a Tensor"):
        refuse_unread(x, {"rope": x})


def test_sizes_come_as_two_numbers_or_as_a_pair():
    assert height_and_width((2, 3)) == height_and_width(([2, 3],)) == (2, 3)
