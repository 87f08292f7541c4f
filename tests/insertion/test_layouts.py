import pytest
import torch
from torch import nn

from quatrain.insertion import find
from quatrain.insertion.example_pass import run_example
from quatrain.insertion.layouts import AXES, Axes, inferred, to_ours
from quatrain.insertion.shapes import activation_shapes as shapes_at
from quatrain.specs import InputError


def activation_shapes(model, places, side, example):
    return shapes_at(model, places, side, run_example(model, places, example))


class Moved(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


class Custom(nn.Module):
    """Attention of torch's, tokens first, within a block that has the batch first."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        turned = x.transpose(0, 1)
        return self.norm(x + self.attention(turned, turned, turned)[0].transpose(0, 1))


def transformer(batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def swin():
    mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    body = nn.Sequential(Moved(0, 2, 3, 1), nn.Sequential(nn.LayerNorm(8), mlp))
    return nn.Sequential(nn.Conv2d(3, 8, 1), body)


def convnext():
    parts = (nn.Conv2d(8, 8, 3, padding=1), Moved(0, 2, 3, 1), nn.LayerNorm(8), nn.Linear(8, 8))
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(*parts, nn.GELU(), Moved(0, 3, 1, 2)))


def audio():
    parts = (nn.Conv1d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU())
    return nn.Sequential(nn.Sequential(*parts), Moved(0, 2, 1), nn.Sequential(nn.Linear(8, 8)))


def squeezed():
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Sigmoid())
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), gate)


MAPS, WAVES, TOKENS = (2, 3, 5, 7), (2, 3, 9), (4, 5, 8)


@pytest.mark.parametrize(
    ("model", "shape", "place", "side", "layout", "channels"),
    [
        (swin, MAPS, "0", "after", "channels_first", 8),
        (swin, MAPS, "1.1", "after", "channels_last", 8),
        (swin, MAPS, "1.1.1.1", "after", "channels_last", 16),
        (swin, MAPS, "1.1.1.2", "before", "channels_last", 16),
        (convnext, MAPS, "1.0", "after", "channels_first", 8),
        (convnext, MAPS, "1.3", "after", "channels_last", 8),
        (convnext, MAPS, "1", "after", "channels_first", 8),
        (convnext, MAPS, "1.4", "after", "channels_last", 8),
        (squeezed, MAPS, "1", "after", "channels_first", 8),  # its Linear gives two axes
        (audio, WAVES, "0", "after", "channels_first", 8),
        (audio, WAVES, "0.0", "before", "channels_first", 3),
        (audio, WAVES, "0.2", "after", "channels_first", 8),
        (audio, WAVES, "2", "after", "channels_last", 8),
        (lambda: transformer(True), TOKENS, "layers.0", "after", "channels_last", 8),
        (lambda: transformer(True), TOKENS, "layers.1.linear1", "after", "channels_last", 12),
        (lambda: transformer(True), TOKENS, "layers.1.self_attn", "before", "channels_last", 8),
        (lambda: transformer(False), TOKENS, "layers.0", "before", "time_first", 8),
        (lambda: transformer(False), TOKENS, "layers.1.linear1", "after", "time_first", 12),
        (lambda: transformer(False), TOKENS, "layers.1.self_attn", "before", "time_first", 8),
        (lambda: nn.Sequential(nn.GRU(8, 4)), TOKENS, "0", "before", "time_first", 8),
        (lambda: nn.Sequential(nn.Linear(8, 4)), TOKENS, "0", "after", "channels_last", 4),
    ],
)
def test_the_modules_at_a_place_or_nearest_to_it_say_how_it_is_laid_out(
    model, shape, place, side, layout, channels
):
    made = model()
    (found,) = activation_shapes(made, find(made, place), side, torch.randn(shape)).values()
    assert (found.layout, found.channels) == (layout, channels)


class Windowed(nn.Module):
    """As a block of TinyViT: (N, H, W, C) in and out, and between them a convolution and tokens."""

    def __init__(self):
        super().__init__()
        self.local, self.tokens = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x):
        y = self.local(x.permute(0, 3, 1, 2))
        return self.tokens(y.flatten(2).transpose(1, 2)).view(x.shape)


class Stage(nn.Module):
    """As a stage of Swin v2 CR: (N, C, H, W) in and out, and blocks of (N, H, W, C) inside."""

    def __init__(self, width=8):
        super().__init__()
        self.merge = nn.Linear(8, width)
        self.block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, x):
        return self.block(self.merge(x.movedim(1, -1))).permute(0, 3, 1, 2)


class Chained(nn.Module):
    """As ConvNeXt: axes are moved by two steps and moved back by one."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(8, 8)

    def forward(self, x):
        return self.mlp(x.transpose(1, 2).transpose(2, 3)).movedim(-1, 1)


class Mixes(nn.Module):
    """As a mixer of tokens: a convolution of (B, C, T) inside, (B, T, C) outside."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x.mT).mT


class Recurs(nn.Module):
    """(T, B, C) outside; a linear layer, whose batch comes first, inside."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


LAST = (2, 5, 7, 8)


@pytest.mark.parametrize(
    ("model", "shape", "layouts", "channels"),
    [
        (lambda: nn.Sequential(Windowed()), LAST, ("channels_last", "channels_last"), (8, 8)),
        (lambda: nn.Sequential(nn.Sequential(Windowed())), LAST,
         ("channels_last", "channels_last"), (8, 8)),
        (lambda: nn.Sequential(Stage()), (2, 8, 5, 7),
         ("channels_first", "channels_first"), (8, 8)),
        (lambda: nn.Sequential(Stage(16)), (2, 8, 5, 7),
         ("channels_first", "channels_first"), (8, 16)),
        (lambda: nn.Sequential(Chained()), (2, 8, 5, 7),
         ("channels_first", "channels_first"), (8, 8)),
        (lambda: nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), Moved(0, 2, 3, 1))), MAPS,
         ("channels_first", "channels_last"), (3, 8)),
        (lambda: nn.Sequential(nn.Sequential(nn.Linear(8, 6), Moved(0, 3, 1, 2))), LAST,
         ("channels_last", "channels_first"), (8, 6)),
        (lambda: nn.Sequential(Mixes()), TOKENS, ("channels_last", "channels_last"), (8, 8)),
        (lambda: nn.Sequential(nn.Sequential(nn.Linear(8, 6), Moved(0, 2, 1))), TOKENS,
         ("channels_last", "channels_first"), (8, 6)),
    ],
)  # fmt: skip
def test_a_composite_that_turns_its_axes_is_laid_out_as_its_own_widths_say(
    model, shape, layouts, channels
):
    made = model()
    seen = run_example(made, find(made, "0"), torch.randn(shape))
    for side, layout, width in zip(("before", "after"), layouts, channels, strict=True):
        found = shapes_at(made, ["0"], side, seen)["0"]
        assert (found.layout, found.channels) == (layout, width)


@pytest.mark.parametrize(
    ("model", "shape", "why"),
    [
        (Windowed, (2, 8, 7, 8), "among which axes are permuted, and its axes of 8 and 8 are both"),
        (Stage, (2, 8, 5, 8), "are both"),
        (Chained, (2, 8, 8, 8), "are both"),
        (Mixes, (2, 8, 8), "are both"),
        (Recurs, (5, 2, 8), "second axis, not its first"),
        (Recurs, (2, 2, 8), "first two axes are as long as the batch"),
    ],
)
def test_a_composite_whose_axes_are_alike_is_asked_for_its_layout(model, shape, why):
    made = nn.Sequential(model())
    example = torch.randn(shape)
    if model is Recurs:
        made, example = nn.Sequential(Moved(1, 0, 2), made[0]), example.transpose(0, 1)
    place = str(len(made) - 1)
    with pytest.raises(InputError, match=why):
        activation_shapes(made, find(made, place), "after", example)


def test_a_convolution_on_a_square_as_wide_as_it_has_channels_is_no_riddle():
    made = nn.Sequential(nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()))
    (found,) = activation_shapes(made, find(made, "0"), "after", torch.randn(2, 3, 8, 8)).values()
    assert found.layout == "channels_first"


def test_stages_of_timm_that_turn_their_axes():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    x = torch.randn(1, 3, 224, 224)
    for name, places in (
        ("tiny_vit_5m_224", {"stages.1.blocks.0": ("channels_last", 128),
                             "stages.1": ("channels_first", 128)}),
        ("swinv2_cr_tiny_224", {"stages.0.blocks.0": ("channels_last", 96),
                                "stages.1": ("channels_first", 192)}),
    ):  # fmt: skip
        made = timm.create_model(name, pretrained=False).eval()
        found = shapes_at(made, places, "after", run_example(made, dict.fromkeys(places), x))
        assert {place: (each.layout, each.channels) for place, each in found.items()} == places


@pytest.mark.parametrize(
    ("model", "shape", "place", "why"),
    [
        (convnext, (2, 3, 8, 8), "1", "Conv2d and .*disagree.*8 and 8 are both"),
        (convnext, (2, 3, 8, 8), "1.4", "Conv2d and .*disagree"),
        (lambda: nn.Sequential(nn.ReLU()), MAPS, "0", "no module near it"),
        (lambda: nn.Sequential(nn.Conv2d(2, 8, 1)), (2, 5, 7), "0", "no module near it"),
        (lambda: nn.Sequential(Custom()), TOKENS, "0", "batch_first=False"),
        (lambda: nn.Sequential(Custom()), TOKENS, "0.norm", "batch_first=False"),
        (lambda: nn.Sequential(Moved(1, 0, 2), nn.Linear(8, 8)), TOKENS, "1", "second axis"),
    ],
)
def test_nothing_is_guessed_where_they_disagree_or_none_is_near(model, shape, place, why):
    made = model()
    with pytest.raises(InputError, match=f"layout of {place} is .*{why}"):
        activation_shapes(made, find(made, place), "after", torch.randn(shape))


@pytest.mark.parametrize(("axes", "layout"), [(n, each) for n in AXES for each in AXES[n]])
def test_the_permutation_brings_the_letters_into_our_order(axes, layout):
    letters = AXES[axes][layout].strip("()").split(", ")
    ours = "B, T, C" if axes == 3 else "N, C, H, W"
    assert ", ".join(letters[axis] for axis in to_ours(axes, layout)) == ours


def test_the_kind_that_said_so_is_told():
    model = swin()
    axes = Axes(output_ndims={model[0]: {4}})
    assert inferred(model, "0", MAPS, axes) == ("channels_first", "Conv2d")
