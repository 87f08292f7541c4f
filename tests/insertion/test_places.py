import pytest
import torch
from torch import nn

from quatrain.insertion import find
from quatrain.insertion.places import Width, widths
from quatrain.specs import InputError


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3)
        self.blocks = nn.Sequential(
            nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.Dropout(0.5)),
            nn.Sequential(nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4)),
        )
        self.twice = nn.Identity()
        self.tuple = nn.LSTM(4, 4, batch_first=True)
        self.never = nn.Linear(4, 4)

    def forward(self, x):
        x = self.twice(self.blocks(self.twice(self.stem(x))))
        return self.tuple(x.flatten(2).transpose(1, 2))[0]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("stem", ["stem"]),
        ("blocks.*", ["blocks.0", "blocks.1"]),
        ("blocks.*.0", ["blocks.0.0", "blocks.1.0"]),
        ("blocks.?.1", ["blocks.0.1", "blocks.1.1"]),
        ("**.1", ["blocks.0.1", "blocks.1", "blocks.1.1"]),
        ("b**0", ["blocks.0", "blocks.0.0", "blocks.1.0"]),
    ],
)
def test_a_star_stays_within_a_part_of_the_name_and_two_do_not(pattern, found):
    model = Model()
    assert sorted(find(model, pattern)) == found
    assert all(model.get_submodule(name) is each for name, each in find(model, pattern).items())


def test_a_pattern_that_matches_nothing_names_what_is_near():
    with pytest.raises(InputError, match=r'pattern is "block\.0".*blocks\.0'):
        find(Model(), "block.0")
    with pytest.raises(InputError, match="the model has no part"):
        find(nn.ReLU(), "x")


def test_widths_of_maps_and_sequences_are_seen_before_and_after():
    model, example = Model(), torch.randn(2, 3, 7, 9)
    places = find(model, "blocks.*")
    assert widths(model, places, "after", example) == {
        "blocks.0": Width(6, 2),
        "blocks.1": Width(4, 2),
    }
    assert widths(model, places, "before", (example,))["blocks.0"] == Width(8, 2)
    assert widths(model, find(model, "tuple"), "before", {"x": example})["tuple"] == Width(4, 1)


@pytest.mark.parametrize(
    ("place", "found"),
    [("tuple", 'is "tuple"'), ("twice", "called with 2 widths"), ("never", "not reached")],
)
def test_a_place_where_no_one_tensor_passes_is_told(place, found):
    model = Model()
    with pytest.raises(InputError, match=found):
        widths(model, find(model, place), "after", torch.randn(2, 3, 7, 9))


def test_the_model_and_the_random_state_are_left_as_they_were():
    model = Model().train()
    model.blocks[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    widths(model, find(model, "blocks.*"), "after", torch.ones(2, 3, 7, 9))
    assert torch.equal(torch.get_rng_state(), state)
    modes = [model.training, model.blocks[0].training, model.blocks[1].training]
    assert modes == [True, True, False]
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(module._forward_hooks for module in model.modules())
