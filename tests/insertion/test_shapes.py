import pytest
import torch
from torch import nn

from quatrain.insertion.example_pass import ExamplePass, run_example
from quatrain.insertion.shapes import (
    LAYOUTS,
    PERMUTATIONS,
    ActivationShape,
    activation_shapes,
    infer_layout,
)
from quatrain.specs import InputError, SpecError


def shape_at(model, place, placement, example, layout=None):
    run = run_example(model, [place], example)
    return activation_shapes(model, [place], placement, run, layout)[place]


class Permuted(nn.Module):
    def __init__(self, *axes):
        super().__init__()
        self.axes = axes

    def forward(self, x):
        return x.permute(self.axes)


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
        self.unused = nn.Linear(4, 4)

    def forward(self, x):
        x = self.twice(self.blocks(self.twice(self.stem(x))))
        return self.flat(self.tuple(x.flatten(2).transpose(1, 2))[0])


def test_shapes_before_and_after_maps_and_sequences():
    model, example = Model(), torch.randn(2, 3, 7, 9)
    places = ["blocks.0", "blocks.1", "tuple"]
    run = run_example(model, places, {"x": example})
    assert activation_shapes(model, places[:2], "after", run) == {
        "blocks.0": ActivationShape(6, 2, "channels_first"),
        "blocks.1": ActivationShape(4, 2, "channels_first"),
    }
    before = activation_shapes(model, places, "before", run)
    assert before["blocks.0"].channels == 8
    assert before["tuple"] == ActivationShape(4, 1, "channels_last")


@pytest.mark.parametrize(
    ("layout", "shape"),
    [
        ("channels_first", ActivationShape(6, 2, "channels_first")),
        ("channels_last", ActivationShape(9, 2, "channels_last")),
        ("channels-last", ActivationShape(9, 2, "channels_last")),
    ],
)
def test_layout_of_the_caller_is_used(layout, shape):
    assert shape_at(Model(), "blocks.0", "after", torch.randn(2, 3, 7, 11), layout) == shape


def test_shape_prints_its_axes_with_the_channels():
    assert str(ActivationShape(256, 2, "channels_first")) == "(N, 256, H, W)"
    assert str(ActivationShape(16, 1, "time_first")) == "(T, B, 16)"


@pytest.mark.parametrize("place", ["twice", "unused", "flat"])
def test_place_without_one_sequence_or_map_raises(place):
    with pytest.raises(InputError) as caught:
        shape_at(Model(), place, "after", torch.randn(2, 3, 7, 9))
    assert caught.value.field == place


def test_unknown_layout_and_layout_of_other_axes_raise():
    for layout, error in (("NCHW", SpecError), (2, SpecError), ("time_first", InputError)):
        with pytest.raises(error) as caught:
            shape_at(Model(), "stem", "after", torch.randn(2, 3, 7, 9), layout)
        assert caught.value.field == "layout"


class Custom(nn.Module):
    """Attention of torch's, tokens first, within a block that has the batch first."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(8, 2)
        self.norm = nn.LayerNorm(8)

    def forward(self, x):
        time_first = x.transpose(0, 1)
        y = self.attention(time_first, time_first, time_first)[0]
        return self.norm(x + y.transpose(0, 1))


def transformer(batch_first):
    layer = nn.TransformerEncoderLayer(8, 2, 12, batch_first=batch_first)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)


def swin():
    mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
    body = nn.Sequential(Permuted(0, 2, 3, 1), nn.Sequential(nn.LayerNorm(8), mlp))
    return nn.Sequential(nn.Conv2d(3, 8, 1), body)


def convnext():
    parts = (nn.Conv2d(8, 8, 3, padding=1), Permuted(0, 2, 3, 1), nn.LayerNorm(8), nn.Linear(8, 8))
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.Sequential(*parts, nn.GELU(), Permuted(0, 3, 1, 2)))


def audio():
    parts = (nn.Conv1d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU())
    return nn.Sequential(nn.Sequential(*parts), Permuted(0, 2, 1), nn.Sequential(nn.Linear(8, 8)))


def squeeze_excitation():
    gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 8), nn.Sigmoid())
    return nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), gate)


MAPS, WAVES, TOKENS = (2, 3, 5, 7), (2, 3, 9), (4, 5, 8)


@pytest.mark.parametrize(
    ("build", "shape", "place", "placement", "layout", "channels"),
    [
        (swin, MAPS, "0", "after", "channels_first", 8),
        (swin, MAPS, "1.1", "after", "channels_last", 8),
        (swin, MAPS, "1.1.1.1", "after", "channels_last", 16),
        (swin, MAPS, "1.1.1.2", "before", "channels_last", 16),
        (convnext, MAPS, "1.0", "after", "channels_first", 8),
        (convnext, MAPS, "1.3", "after", "channels_last", 8),
        (convnext, MAPS, "1", "after", "channels_first", 8),
        (convnext, MAPS, "1.4", "after", "channels_last", 8),
        (squeeze_excitation, MAPS, "1", "after", "channels_first", 8),  # its Linear has two axes
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
        # a square map as wide as it has channels
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU()), (2, 3, 8, 8), "1", "after",
         "channels_first", 8),
    ],
)  # fmt: skip
def test_layout_is_inferred_from_the_nearest_modules(
    build, shape, place, placement, layout, channels
):
    inferred = shape_at(build(), place, placement, torch.randn(shape))
    assert (inferred.layout, inferred.channels) == (layout, channels)


class TinyVitBlock(nn.Module):
    """(N, H, W, C) in and out; a convolution and a linear layer on tokens inside."""

    def __init__(self):
        super().__init__()
        self.local, self.tokens = nn.Conv2d(8, 8, 3, padding=1), nn.Linear(8, 8)

    def forward(self, x):
        y = self.local(x.permute(0, 3, 1, 2))
        return self.tokens(y.flatten(2).transpose(1, 2)).view(x.shape)


class SwinStage(nn.Module):
    """(N, C, H, W) in and out; blocks of (N, H, W, C) inside, as in Swin v2 CR."""

    def __init__(self, width=8):
        super().__init__()
        self.merge = nn.Linear(8, width)
        self.block = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width))

    def forward(self, x):
        return self.block(self.merge(x.movedim(1, -1))).permute(0, 3, 1, 2)


class TwoTransposes(nn.Module):
    """As ConvNeXt: the axes are moved by two operators and moved back by one."""

    def __init__(self):
        super().__init__()
        self.mlp = nn.Linear(8, 8)

    def forward(self, x):
        return self.mlp(x.transpose(1, 2).transpose(2, 3)).movedim(-1, 1)


class TokenMixer(nn.Module):
    """(B, T, C) in and out; a convolution of (B, C, T) inside."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv1d(8, 8, 3, padding=1)

    def forward(self, x):
        return self.conv(x.mT).mT


class TimeFirst(nn.Module):
    """(T, B, C) in and out; a linear layer with the batch first inside."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x):
        return self.layer(x.transpose(0, 1)).transpose(0, 1)


LAST = (2, 5, 7, 8)
BOTH_LAST, BOTH_FIRST = ("channels_last",) * 2, ("channels_first",) * 2


@pytest.mark.parametrize(
    ("build", "shape", "layouts", "channels"),
    [
        (TinyVitBlock, LAST, BOTH_LAST, (8, 8)),
        (lambda: nn.Sequential(TinyVitBlock()), LAST, BOTH_LAST, (8, 8)),
        (SwinStage, (2, 8, 5, 7), BOTH_FIRST, (8, 8)),
        (lambda: SwinStage(16), (2, 8, 5, 7), BOTH_FIRST, (8, 16)),
        (TwoTransposes, (2, 8, 5, 7), BOTH_FIRST, (8, 8)),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 1), Permuted(0, 2, 3, 1)), MAPS,
         ("channels_first", "channels_last"), (3, 8)),
        (lambda: nn.Sequential(nn.Linear(8, 6), Permuted(0, 3, 1, 2)), LAST,
         ("channels_last", "channels_first"), (8, 6)),
        (TokenMixer, TOKENS, BOTH_LAST, (8, 8)),
        (lambda: nn.Sequential(nn.Linear(8, 6), Permuted(0, 2, 1)), TOKENS,
         ("channels_last", "channels_first"), (8, 6)),
    ],
)  # fmt: skip
def test_layout_of_a_permuting_module_is_inferred_from_its_channels(
    build, shape, layouts, channels
):
    model = nn.Sequential(build())
    run = run_example(model, ["0"], torch.randn(shape))
    for placement, layout, width in zip(("before", "after"), layouts, channels, strict=True):
        inferred = activation_shapes(model, ["0"], placement, run)["0"]
        assert (inferred.layout, inferred.channels) == (layout, width)


@pytest.mark.parametrize(
    ("model", "shape", "place"),
    [
        (nn.Sequential(TinyVitBlock()), (2, 8, 7, 8), "0"),
        (nn.Sequential(SwinStage()), (2, 8, 5, 8), "0"),
        (nn.Sequential(TwoTransposes()), (2, 8, 8, 8), "0"),
        (nn.Sequential(TokenMixer()), (2, 8, 8), "0"),
        (nn.Sequential(Permuted(1, 0, 2), TimeFirst()), (2, 5, 8), "1"),
        (nn.Sequential(Permuted(1, 0, 2), TimeFirst()), (2, 2, 8), "1"),
        (convnext(), (2, 3, 8, 8), "1"),
        (convnext(), (2, 3, 8, 8), "1.4"),
        (nn.Sequential(nn.Conv2d(3, 8, 1), nn.LayerNorm(9), nn.GELU()), (2, 3, 7, 9), "2"),
        (nn.Sequential(nn.ReLU()), MAPS, "0"),
        (nn.Sequential(nn.Conv2d(2, 8, 1)), (2, 5, 7), "0"),
        (nn.Sequential(Custom()), TOKENS, "0"),
        (nn.Sequential(Custom()), TOKENS, "0.norm"),
        (nn.Sequential(Permuted(1, 0, 2), nn.Linear(8, 8)), TOKENS, "1"),
    ],
)
def test_ambiguous_layout_raises(model, shape, place):
    with pytest.raises(InputError) as caught:
        shape_at(model, place, "after", torch.randn(shape))
    assert caught.value.field == f"layout of {place}"
    assert "ambiguous: " in str(caught.value)
    assert "channels_first" in str(caught.value)


@pytest.mark.slow
def test_layout_of_permuting_stages_of_timm():
    timm = pytest.importorskip("timm", reason="timm is not installed")
    x = torch.randn(1, 3, 224, 224)
    for name, places in (
        ("tiny_vit_5m_224", {"stages.1.blocks.0": ("channels_last", 128),
                             "stages.1": ("channels_first", 128)}),
        ("swinv2_cr_tiny_224", {"stages.0.blocks.0": ("channels_last", 96),
                                "stages.1": ("channels_first", 192)}),
    ):  # fmt: skip
        model = timm.create_model(name, pretrained=False).eval()
        shapes = activation_shapes(model, places, "after", run_example(model, places, x))
        inferred = {place: (each.layout, each.channels) for place, each in shapes.items()}
        assert inferred == places


@pytest.mark.parametrize(("ndim", "layout"), [(n, each) for n in LAYOUTS for each in LAYOUTS[n]])
def test_permutation_orders_the_axes_as_ours(ndim, layout):
    axes = LAYOUTS[ndim][layout].strip("()").split(", ")
    ours = "B, T, C" if ndim == 3 else "N, C, H, W"
    assert ", ".join(axes[axis] for axis in PERMUTATIONS[ndim, layout]) == ours


def test_evidence_is_the_class_of_a_module():
    model = swin()
    run = ExamplePass(output_ndims={model[0]: {4}})
    assert infer_layout([model[0], model], MAPS, run) == ("channels_first", "Conv2d")
