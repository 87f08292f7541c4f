import pytest
import torch
from torch import nn

from quatrain.insertion import find
from quatrain.insertion.example_pass import run_example
from quatrain.insertion.shapes import ActivationShape
from quatrain.insertion.shapes import activation_shapes as shapes_at
from quatrain.specs import InputError, SpecError


def activation_shapes(model, places, side, example, layout=None):
    return shapes_at(model, places, side, run_example(model, places, example), layout)


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
        self.flat = nn.Flatten()
        self.never = nn.Linear(4, 4)

    def forward(self, x):
        x = self.twice(self.blocks(self.twice(self.stem(x))))
        return self.flat(self.tuple(x.flatten(2).transpose(1, 2))[0])


def test_widths_of_maps_and_sequences_are_seen_before_and_after():
    model, example = Model(), torch.randn(2, 3, 7, 9)
    places = find(model, "blocks.*")
    assert activation_shapes(model, places, "after", example) == {
        "blocks.0": ActivationShape(6, 2, "channels_first"),
        "blocks.1": ActivationShape(4, 2, "channels_first"),
    }
    assert activation_shapes(model, places, "before", (example,))["blocks.0"].channels == 8
    found = activation_shapes(model, find(model, "tuple"), "before", {"x": example})
    assert found == {"tuple": ActivationShape(4, 1, "channels_last")}


@pytest.mark.parametrize(
    ("layout", "expected"), [("channels_first", ActivationShape(6, 2, "channels_first")),
                             ("channels_last", ActivationShape(9, 2, "channels_last"))],
)  # fmt: skip
def test_the_layout_that_is_told_is_the_one_that_is_read(layout, expected):
    model = Model()
    found = activation_shapes(
        model, find(model, "blocks.0"), "after", torch.randn(2, 3, 7, 11), layout
    )
    assert found == {"blocks.0": expected}


@pytest.mark.parametrize(
    ("place", "found"),
    [
        ("tuple", 'is "tuple"'),
        ("twice", "called with 2 widths"),
        ("never", "not reached"),
        ("flat", "a tensor of 2 axes"),
    ],
)
def test_a_place_where_no_one_tensor_passes_is_told(place, found):
    model = Model()
    with pytest.raises(InputError, match=found):
        activation_shapes(model, find(model, place), "after", torch.randn(2, 3, 7, 9))


def test_a_layout_that_is_none_or_that_a_map_cannot_have_is_refused():
    model, x = Model(), torch.randn(2, 3, 7, 9)
    with pytest.raises(SpecError, match=r"layout is .*NCHW"):
        activation_shapes(model, find(model, "stem"), "after", x, "NCHW")
    with pytest.raises(InputError, match=r"time_first.*channels_last.*\(N, H, W, C\) at stem"):
        activation_shapes(model, find(model, "stem"), "after", x, "time_first")


def test_a_layout_that_cannot_be_told_is_asked_for_in_one_sentence():
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm(9), nn.GELU())
    with pytest.raises(InputError) as caught:
        activation_shapes(model, find(model, "2"), "after", torch.randn(2, 3, 7, 9))
    assert str(caught.value) == (
        'layout of 2 is "unclear by Conv2d and LayerNorm near it, which disagree, and its axes of '
        '8 and 9 are both numbers of channels there", expected one of "channels_first" '
        '(N, C, H, W), "channels_last" (N, H, W, C): name it.'
    )


def test_the_model_and_the_random_state_are_left_as_they_were():
    model = Model().train()
    model.blocks[1].eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    activation_shapes(model, find(model, "blocks.*"), "after", torch.ones(2, 3, 7, 9))
    assert torch.equal(torch.get_rng_state(), state)
    modes = [model.training, model.blocks[0].training, model.blocks[1].training]
    assert modes == [True, True, False]
    assert torch.backends.mha.get_fastpath_enabled()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert not any(module._forward_hooks for module in model.modules())
