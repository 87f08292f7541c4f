import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quatrain.models.resnet import ResNetSpec
from quatrain.nn import AttentionSpec, GeneralizedAttention, parse_mixer
from quatrain.ops.positions import sinusoid
from quatrain.specs import InputError, Term
from quatrain.tasks.vision import attention_maps
from quatrain.tasks.vision.attention_maps import attention_picture


def set_position_peak(attention, offset, strength=3.0):
    """Set E4 so that it is highest at that offset, for every query and content."""
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
    """A feature map of one cell for 8 x 8 pixels, and attention over it."""

    def __init__(self, terms="0001", **fields):
        super().__init__()
        torch.manual_seed(0)
        self.stem = nn.Conv2d(3, 16, 8, stride=8)
        self.attention = AttentionSpec(terms=terms, heads=2, **fields).build(16)

    def forward(self, pixels):
        return self.attention(self.stem(pixels))


def grey(height, width):
    return torch.full((3, height, width), 128, dtype=torch.uint8)


def small_resnet(mixer):
    return ResNetSpec(depth=18, width=8, mixer=mixer).build()


@pytest.fixture
def draw(monkeypatch):
    """Call `attention_picture` and return the arguments of `draw_panels`: panels and options."""

    def drawn(*arguments, **options):
        calls, picture = [], Image.new("RGB", (1, 1))
        monkeypatch.setattr(
            attention_maps, "draw_panels", lambda panels, **o: calls.append((panels, o)) or picture
        )
        assert attention_picture(*arguments, **options) is picture
        return calls[0]

    return drawn


def cells(panel, rows, columns):
    """The brightness at the centre of each cell of the feature map."""
    height, width = panel.image.shape[:2]
    ys = ((np.arange(rows) + 0.5) / rows * height).astype(int)
    xs = ((np.arange(columns) + 0.5) / columns * width).astype(int)
    return panel.image[np.ix_(ys, xs)].astype(int).sum(-1)


def brightest(panel, rows, columns):
    values = cells(panel, rows, columns)
    return tuple(np.argwhere(values == values.max())[0].tolist())


@pytest.mark.parametrize("offset", [(0, 0), (2, -3), (-1, 4)])
def test_the_overlay_is_brightest_at_the_highest_weight(offset, draw):
    network = Patches()
    set_position_peak(network.attention, offset)
    # 6 x 10 cells of 8 pixels; the query at row 20, column 37 is in cell (2, 4).
    (query, weights), _ = draw(network, torch.randn(1, 3, 48, 80), grey(48, 80), at=(20, 37))
    assert brightest(weights, 6, 10) == (2 + offset[0], 4 + offset[1])
    for panel in (query, weights):
        assert panel.boxes[0].corners == pytest.approx((32, 16, 40, 24))
    assert (query.image == 128).all()


def test_the_last_attention_is_drawn_unless_another_is_named(draw):
    torch.manual_seed(0)
    network = small_resnet(parse_mixer("0011"))
    names = [n for n, m in network.named_modules() if isinstance(m, GeneralizedAttention)]
    set_position_peak(network.get_submodule(names[-1]), (1, 1))
    set_position_peak(network.get_submodule(names[0]), (-2, 3))
    pixels, image = torch.randn(1, 3, 96, 160), grey(96, 160)
    # The default query is in the centre: of 3 x 5 cells of conv5 (1, 2), of 6 x 10 of conv4 (3, 5).
    (_, _, key, position), _ = draw(network, pixels, image)
    assert brightest(position, 3, 5) == (2, 3)
    assert not np.array_equal(key.image, position.image)
    (*_, named), _ = draw(network, pixels, image, name=names[0])
    assert brightest(named, 6, 10) == (1, 8)


@pytest.mark.parametrize(
    ("terms", "panels"), [("0000", 2), ("0100", 2), ("0110", 4), ("1110", 5), ("1111", 6)]
)
def test_each_of_several_terms_has_a_panel(terms, panels, draw):
    pixels, image = torch.randn(1, 3, 48, 80), grey(48, 80)
    assert len(draw(Patches(terms), pixels, image)[0]) == panels


def test_uniform_weights_are_equally_bright_everywhere(draw):
    panels, _ = draw(Patches("0000"), torch.randn(1, 3, 48, 80), grey(48, 80))
    values = cells(panels[1], 6, 10)
    assert values.min() == values.max() > 128 * 3


def test_only_the_window_is_bright(draw):
    network = Patches("0100", window=3)
    panels, _ = draw(network, torch.randn(1, 3, 48, 80), grey(48, 80), at=(0, 79))
    values = cells(panels[1], 6, 10)
    assert (values > values.min()).sum() == (values[:2, 8:] > values.min()).sum() >= 3


def test_a_key_of_a_stride_covers_the_cells_up_to_the_next_key(draw):
    network = Patches(key_stride=2)
    set_position_peak(network.attention, (1, -2))
    panels, _ = draw(network, torch.randn(1, 3, 40, 80), grey(40, 80), at=(8, 48))
    values = cells(panels[1], 5, 10)  # from cell (1, 6) to key (2, 4)
    assert np.argwhere(values == values.max()).tolist() == [[2, 4], [2, 5], [3, 4], [3, 5]]


def test_padding_is_not_drawn(draw):
    network = Patches()
    set_position_peak(network.attention, (0, 1))
    # 4 x 5 cells of image, which was twice as large before resizing, and padding.
    arguments = (torch.randn(1, 3, 64, 96), grey(64, 80))
    (query, weights), _ = draw(network, *arguments, at=(40, 20), covered=(32, 40))
    assert brightest(weights, 4, 5) == (2, 2)
    assert query.boxes[0].corners == pytest.approx((16, 32, 32, 48))
    panels, _ = draw(network, *arguments, at=(40, 20))
    assert brightest(panels[1], 8, 12) == (5, 4)


def test_a_map_of_more_cells_than_pixels_is_drawn():
    network = Patches()
    network.stem = nn.Conv2d(3, 16, 1)
    set_position_peak(network.attention, (0, 9))
    picture = attention_picture(network, torch.randn(1, 3, 5, 900), grey(2, 90), at=(1, 89))
    assert picture is not None


def test_a_network_without_two_dimensional_attention_gives_no_picture():
    image = grey(64, 64)
    for text in ("w/o", "dynamic@7", "w/o+deformable"):
        network = small_resnet(parse_mixer(text))
        assert attention_picture(network, torch.randn(1, 3, 64, 64), image) is None
    sequence = AttentionSpec().build(8, ndim=1)
    assert attention_picture(sequence, torch.randn(1, 3, 8, 8), image) is None


def test_the_state_of_the_network_is_unchanged(draw):
    torch.manual_seed(0)
    network = small_resnet(parse_mixer("0110+deformable")).train()
    network.body.layer2.eval()
    modes = [module.training for module in network.modules()]
    before = {name: value.clone() for name, value in network.state_dict().items()}
    draw(network, torch.randn(1, 3, 64, 96), grey(64, 96))
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(module._forward_hooks for module in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_bare_attention_is_drawn(draw):
    attention = AttentionSpec(terms="1000", heads=2).build(8)
    assert len(draw(attention, torch.randn(1, 8, 3, 4), grey(30, 40))[0]) == 2


def test_captions_give_the_term_the_maximum_and_the_share_on_padding(draw):
    network, pixels = Patches("0011"), torch.randn(1, 3, 48, 80)
    panels, options = draw(network, pixels, grey(48, 80), at=(20, 37), covered=(48, 40))
    explained = network.attention.explain(network.stem(pixels), at=(2, 2))
    alone = explained.term_weights(Term.POSITION)[0, :, 0].mean(0).reshape(6, 10).detach()
    padding, highest = 100 * float(alone[:, 5:].sum()), float(alone[:, :5].max())
    assert options["title"] == "attention: 0011, mean of 2 heads"
    assert panels[0].caption == "query: row 20, column 37"
    assert panels[1].caption.startswith("all terms: at most 0.0")
    assert panels[3].caption == f"E4, position: at most {highest:.3g}, {padding:.0f} % on padding"
    residual = small_resnet(AttentionSpec(terms="0100", window=7))
    panels, options = draw(residual, torch.randn(1, 3, 64, 64), grey(64, 64))
    assert options["title"] == "body.layer4.1.bn2.block.mixer: 0100@7, mean of 8 heads, gamma 0"
    assert panels[1].caption.startswith("E2, query and position: at most")


@pytest.mark.parametrize(
    "options",
    [
        {"at": (48, 0)},
        {"at": (0, -1)},
        {"name": "stem"},
        {"covered": (49, 80)},
        {"covered": (0, 80)},
    ],
)
def test_an_argument_out_of_range_is_refused(options):
    with pytest.raises(InputError) as error:
        attention_picture(Patches(), torch.randn(1, 3, 48, 80), grey(48, 80), **options)
    assert error.value.field in options


def test_an_attention_that_is_not_called_is_refused_and_its_hook_removed():
    network = Patches()
    network.forward = network.stem.forward
    with pytest.raises(InputError) as error:
        attention_picture(network, torch.randn(1, 3, 48, 80), grey(48, 80))
    assert error.value.field == "attention"
    assert not network.attention._forward_hooks
