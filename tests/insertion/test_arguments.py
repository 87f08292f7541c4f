import pytest
import torch
from torch import nn

from quatrain.insertion.arguments import (
    Parameters,
    Reads,
    check_padding,
    height_and_width,
    padding_from,
    parameters_of,
    refuse_mask,
    refuse_unread,
)
from quatrain.insertion.standing import Inserted
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
    wrapper = Inserted(place, nn.Identity(), "after", "channels-last", Reads(parameters_of(place)))
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


REAL = torch.tensor([[1, 1, 0]])
ADDED = torch.tensor([[0.0, 0.0, -torch.inf]])


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", REAL),
        ("attention_mask", REAL.bool()),
        ("mask", REAL.float()),
        ("src_key_padding_mask", ~REAL.bool()),
        ("key_padding_mask", 1 - REAL),
        ("src_key_padding_mask", ADDED),
    ],
)
def test_each_kind_of_mask_gives_true_at_padding(name, mask):
    assert padding_from(name, mask).tolist() == [[False, False, True]]
    check_padding(name, mask, (1, 3))


def test_no_mask_is_no_padding_and_a_map_of_it_is_read_row_by_row():
    assert padding_from("mask", None) is None
    assert padding_from("mask", torch.eye(2)[None]).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("name", "mask", "why"),
    [
        ("attention_mask", torch.ones(1, 1, 3, 3), r"of \(B, T\)"),
        ("attention_mask", torch.ones(1, 4), r"shape \(1, 3\)"),
        ("attention_mask", ADDED, "expected 0 or 1"),
        ("key_padding_mask", torch.tensor([[0.0, 1.0, 1.0]]), "expected 0 or negative"),
        ("key_padding_mask", torch.tensor([[0, 2, 1]]), "expected 0 or 1"),
    ],
)
def test_a_mask_of_another_kind_is_refused(name, mask, why):
    with pytest.raises(InputError, match=why):
        check_padding(name, mask, (1, 3))


def test_a_mask_without_numbers_is_judged_by_its_shape():
    check_padding("attention_mask", torch.ones(1, 3, device="meta"), (1, 3))


def test_arguments_that_are_not_read_are_named():
    x = torch.ones(1)
    assert refuse_unread(x, {"rope": None, "flag": False}) is x
    with pytest.raises(InputError, match=r"rope is .a Tensor"):
        refuse_unread(x, {"rope": x})
    with pytest.raises(InputError, match=r'masked by mask.*key_padding_mask="mask"'):
        refuse_mask("0", "mask", padding=True)


def test_sizes_come_as_two_numbers_or_as_a_pair():
    assert height_and_width((2, 3)) == height_and_width(([2, 3],)) == (2, 3)
