import numpy as np
import pytest
import torch
from torch import nn

from quatrain.models.resnet import ResNetSpec
from quatrain.nn import AttentionSpec, GeneralizedAttention, parse_mixer
from quatrain.ops.positions import sinusoid
from quatrain.specs import InputError, Term
from quatrain.tasks.vision import attention_maps
from quatrain.tasks.vision.attention_maps import QUERY, attention_picture, heat_colors
from quatrain.tasks.vision.panels import GAP, arrange, fitted

TOP, LINE = 26, 18
"""Where the first panels begin below title and caption, and how high a caption is."""


def point_to(attention, offset, strength=3.0):
    """Set E4 so that it is highest at that offset, whatever the query and the content."""
    width = attention.channels // attention.spec.heads
    with torch.no_grad():
        attention.position_bias.zero_()[:, 0] = strength
        for layer, steps in zip(attention.position, offset, strict=True):
            channels = attention.channels // 2
            target = sinusoid(
                torch.tensor([steps]), channels, attention.position.wavelength, torch.float32
            )
            layer.weight.zero_()[::width] = target


class Patches(nn.Module):
    """A map of one cell for 8 x 8 pixels, and attention over it."""

    def __init__(self, terms="0001", **fields):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 8, stride=8)
        self.attention = AttentionSpec(terms=terms, heads=2, **fields).build(16)

    def forward(self, pixels):
        return self.attention(self.stem(pixels))


def grey(height, width):
    return torch.full((3, height, width), 128, dtype=torch.uint8)


def panels(picture, height, width):
    """All panels as arrays; each is as large as an image of that size becomes."""
    across, down = fitted((width, height))
    pixels = np.asarray(picture).astype(int)
    columns = 3 if picture.width > 3 * across else 2
    room = (picture.width - GAP) // columns - GAP
    rows = (picture.height - TOP + LINE) // (down + LINE + GAP)
    return [
        pixels[y : y + down, x : x + across]
        for y in (TOP + LINE + row * (down + LINE + GAP) for row in range(rows))
        for x in (GAP + column * (room + GAP) for column in range(columns))
    ]


def cells(panel, rows, columns):
    """The brightness of the middle of each cell of the map, whatever frames are drawn around."""
    height, width = panel.shape[:2]
    ys = ((np.arange(rows) + 0.5) / rows * height).astype(int)
    xs = ((np.arange(columns) + 0.5) / columns * width).astype(int)
    return panel[np.ix_(ys, xs)].sum(-1)


def brightest(panel, rows, columns):
    found = cells(panel, rows, columns)
    return tuple(np.argwhere(found == found.max())[0].tolist())


def frame_of(panel):
    """The first and last row and column of the line around the query."""
    found = np.argwhere((panel == QUERY).all(-1))
    return (*found.min(0).tolist(), *found.max(0).tolist())


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-1, 4)])
def test_the_overlay_is_brightest_where_the_weights_are_highest(offset):
    network = Patches()
    point_to(network.attention, offset)
    # 6 x 10 cells of 8 pixels; the query at row 20, column 37 is in cell (2, 4).
    picture = attention_picture(network, torch.randn(1, 3, 48, 80), grey(48, 80), at=(20, 37))
    query, weights = panels(picture, 48, 80)
    assert brightest(weights, 6, 10) == (2 + offset[0], 4 + offset[1])
    for panel in (query, weights):  # enlarged five times: the cell is 80...119, 160...199
        assert frame_of(panel) == (78, 158, 121, 201)
    assert (query[90, 10] == 128).all()


def test_in_a_residual_network_the_last_attention_is_shown_unless_another_is_named():
    torch.manual_seed(0)
    network = ResNetSpec(depth=18, mixer=parse_mixer("0011")).build()
    names = [n for n, m in network.named_modules() if isinstance(m, GeneralizedAttention)]
    point_to(network.get_submodule(names[-1]), (1, 1))
    point_to(network.get_submodule(names[0]), (-2, 3))
    pixels, image = torch.randn(1, 3, 96, 160), grey(96, 160)
    # The default query is in the centre: of 3 x 5 cells of conv5 (1, 2), of 6 x 10 of conv4 (3, 5).
    _, _, key, position = panels(attention_picture(network, pixels, image), 96, 160)[:4]
    assert brightest(position, 3, 5) == (2, 3)
    assert not np.array_equal(key, position)
    named = panels(attention_picture(network, pixels, image, name=names[0]), 96, 160)
    assert brightest(named[3], 6, 10) == (1, 8)


def test_each_term_that_is_on_has_a_panel_and_one_alone_is_the_whole():
    pixels, image = torch.randn(1, 3, 48, 80), grey(48, 80)
    heights = {}
    for terms in ("0000", "0100", "0110", "1110", "1111"):
        picture = attention_picture(Patches(terms), pixels, image)
        heights[terms] = picture.height
        shown = panels(picture, 48, 80)
        empty = [panel for panel in shown if (panel == 255).all()]
        terms_on = terms.count("1")
        assert len(shown) - len(empty) == 2 + (terms_on if terms_on > 1 else 0)
    assert heights["0000"] == heights["0100"] < heights["0110"] == heights["1111"]
    assert heights["0110"] == heights["1110"]


def test_uniform_weights_are_equally_bright_everywhere():
    weights = panels(
        attention_picture(Patches("0000"), torch.randn(1, 3, 48, 80), grey(48, 80)), 48, 80
    )[1]
    found = cells(weights, 6, 10)
    assert found.min() == found.max() > 128 * 3


def test_a_window_is_all_that_is_bright():
    network = Patches("0100", window=3)
    picture = attention_picture(network, torch.randn(1, 3, 48, 80), grey(48, 80), at=(0, 79))
    found = cells(panels(picture, 48, 80)[1], 6, 10)
    assert (found > found.min()).sum() == (found[:2, 8:] > found.min()).sum() >= 3


def test_a_key_of_a_stride_stands_for_the_cells_up_to_the_next():
    network = Patches(key_stride=2)
    point_to(network.attention, (1, -2))
    picture = attention_picture(network, torch.randn(1, 3, 40, 80), grey(40, 80), at=(8, 48))
    found = cells(panels(picture, 40, 80)[1], 5, 10)  # from cell (1, 6) to key (2, 4)
    assert np.argwhere(found == found.max()).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_padding_is_not_part_of_the_picture():
    network = Patches()
    point_to(network.attention, (0, 1))
    # 4 x 5 cells of image and more of padding; the image was twice as large before.
    arguments = (torch.randn(1, 3, 64, 96), grey(64, 80))
    picture = attention_picture(network, *arguments, at=(40, 20), covered=(32, 40))
    query, weights = panels(picture, 64, 80)
    assert brightest(weights, 4, 5) == (2, 2)
    assert frame_of(query) == (2 * 80 - 2, 80 - 2, 3 * 80 + 1, 2 * 80 + 1)
    whole = attention_picture(network, *arguments, at=(40, 20))
    assert brightest(panels(whole, 64, 80)[1], 8, 12) == (5, 4)


def test_a_map_of_more_cells_than_the_panel_has_pixels_is_drawn():
    network = Patches()
    network.stem = nn.Conv2d(3, 16, 1)
    point_to(network.attention, (0, 9))
    picture = attention_picture(network, torch.randn(1, 3, 5, 900), grey(5, 900), at=(2, 899))
    assert picture is not None


def test_a_network_without_attention_over_maps_gives_no_picture():
    image = grey(64, 64)
    for text in ("w/o", "dynamic@7", "w/o+deformable"):
        network = ResNetSpec(depth=18, mixer=parse_mixer(text)).build()
        assert attention_picture(network, torch.randn(1, 3, 64, 64), image) is None
    assert (
        attention_picture(AttentionSpec().build(8, ndim=1), torch.randn(1, 3, 8, 8), image) is None
    )


def test_the_network_is_left_as_it_was():
    torch.manual_seed(0)
    network = ResNetSpec(depth=18, mixer=parse_mixer("0110+deformable")).build().train()
    network.body.layer2.eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    picture = attention_picture(network, torch.randn(1, 3, 64, 96), grey(64, 96))
    assert picture is not None
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_an_attention_by_itself_is_drawn():
    attention = AttentionSpec(terms="1000", heads=2).build(8)
    assert attention_picture(attention, torch.randn(1, 8, 3, 4), grey(30, 40)) is not None


def test_captions_tell_the_maximum_the_term_and_what_falls_on_padding(monkeypatch):
    told = {}

    def arranged(panels, *, title, columns):
        told.update(title=title, captions=[panel.caption for panel in panels])
        return arrange(panels, title=title, columns=columns)

    monkeypatch.setattr(attention_maps, "arrange", arranged)
    network, pixels = Patches("0011"), torch.randn(1, 3, 48, 80)
    attention_picture(network, pixels, grey(48, 80), at=(20, 37), covered=(48, 40))
    explained = network.attention.explain(network.stem(pixels), at=(2, 2))
    alone = explained.term_weights(Term.POSITION)[0, :, 0].mean(0).reshape(6, 10).detach()
    assert told["title"] == "attention: 0011, mean of 2 heads"
    assert told["captions"][0] == "the query: row 20, column 37"
    assert told["captions"][1].startswith("weights of all terms together: at most 0.0")
    outside = 100 * float(alone[:, 5:].sum())
    most = float(alone[:, :5].max())
    assert told["captions"][3] == (
        f"E4, position, alone: at most {most:.3g}, {outside:.0f} % outside the image"
    )
    residual = ResNetSpec(depth=18, mixer=AttentionSpec(terms="0100", window=7)).build()
    attention_picture(residual, torch.randn(1, 3, 64, 64), grey(64, 64))
    assert told["title"] == "body.layer4.1.bn2.block.mixer: 0100@7, mean of 8 heads, gamma 0"
    assert told["captions"][1].startswith("E2, query and position: at most")


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"at": (48, 0)}, "row and column within 48 x 80"),
        ({"at": (0, -1)}, "row and column within 48 x 80"),
        ({"name": "stem"}, "one of attention"),
        ({"covered": (49, 80)}, "leave padding out"),
        ({"covered": (0, 80)}, "leave padding out"),
    ],
)
def test_what_does_not_fit_is_told(asked, told):
    with pytest.raises(InputError, match=told):
        attention_picture(Patches(), torch.randn(1, 3, 48, 80), grey(48, 80), **asked)


def test_an_attention_that_is_not_called_is_told_and_the_hook_goes():
    network = Patches()
    network.forward = network.stem.forward
    with pytest.raises(InputError, match="not called"):
        attention_picture(network, torch.randn(1, 3, 48, 80), grey(48, 80))
    assert not network.attention._forward_hooks


def test_more_heat_is_brighter():
    colors = heat_colors(np.linspace(0, 1, 101)[None])[0].astype(int)
    brightness = colors @ [299, 587, 114]
    assert (np.diff(brightness) > 0).all()
