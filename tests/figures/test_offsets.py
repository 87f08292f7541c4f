import numpy as np
import pytest
import torch
from torch import nn

from quatrain.figures import plot_offsets
from quatrain.insertion import replace
from quatrain.nn import DCNv4Spec, DeformableAttentionSpec, DeformableConvSpec, capture_offsets
from quatrain.specs import InputError


def built(ndim=2, *, spread=0.3, **fields):
    torch.manual_seed(0)
    module = DeformableConvSpec(**fields).build(8, ndim=ndim)
    nn.init.normal_(module.offset.weight, std=spread)
    return module


def sampled(height=5, width=7, **fields):
    return built(**fields).explain(torch.randn(2, 8, height, width))


def arrows(figure):
    """Starts and lengths (x, y) of the arrows in the first axes."""
    [quiver] = [each for each in figure.axes[0].collections if hasattr(each, "U")]
    return np.stack((quiver.X, quiver.Y), 1), np.stack((quiver.U, quiver.V), 1)


def dots(figure):
    """The regular and the displaced points (x, y)."""
    collections = figure.axes[0].collections
    points = {each.get_label(): each.get_offsets() for each in collections}
    return np.asarray(points["regular"]), np.asarray(points["displaced"])


@pytest.mark.parametrize("size", [(5, 7), (1, 6), (1, 1)])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_arrows_are_the_mean_offsets_at_strided_positions_in_cells(size, stride):
    sampling = sampled(*size, stride=stride)
    starts, moved = arrows(plot_offsets(sampling, batch=1))
    rows, columns = (-(-each // stride) for each in size)
    at = [[x * stride, y * stride] for y in range(rows) for x in range(columns)]
    assert starts.tolist() == at
    mean = sampling.offset[1, :, 0].mean(1).detach().numpy()
    np.testing.assert_allclose(moved, mean[:, ::-1], atol=1e-6)


def test_positions_and_offsets_over_an_image_are_in_its_pixels():
    sampling = sampled(5, 7, stride=2)
    figure = plot_offsets(sampling, torch.randn(3, 40, 28))  # cells of 8 x 4 pixels
    starts, moved = arrows(figure)
    assert starts[5].tolist() == [(2 + 0.5) * 4 - 0.5, (2 + 0.5) * 8 - 0.5]  # row 1, column 1
    mean = sampling.offset[0, :, 0].mean(1).detach().numpy()
    np.testing.assert_allclose(moved, mean[:, ::-1] * (4, 8), rtol=1e-5)
    axes, bar = figure.axes
    assert axes.get_xlabel() == "column [pixels]"
    assert bar.get_ylabel() == "length of the mean offset [pixels]"
    assert axes.get_xlim() == pytest.approx((-0.5, 27.5))
    assert axes.get_ylim() == pytest.approx((39.5, -0.5))


def test_arrows_have_their_true_length_and_are_coloured_by_it():
    figure = plot_offsets(sampled())
    [quiver] = figure.axes[0].collections
    assert (quiver.angles, quiver.scale_units, quiver.scale) == ("xy", "xy", 1)
    _, moved = arrows(figure)
    np.testing.assert_allclose(quiver.get_array(), np.linalg.norm(moved, axis=1))


def test_of_large_maps_every_nth_position_is_shown():
    figure = plot_offsets(sampled(10, 70))
    starts, _ = arrows(figure)
    assert len(starts) == 4 * 24
    assert "every 3 positions" in figure.axes[0].get_title()


@pytest.mark.parametrize("fields", [{}, {"stride": 2}, {"dilation": 2}, {"kernel": 5}])
def test_points_are_the_taps_of_the_query(fields):
    sampling = sampled(offset_groups=2, **fields)
    figure = plot_offsets(sampling, query=(1, 2), batch=1, group=1)
    regular, displaced = dots(figure)
    stride, dilation, kernel = (
        fields.get(k, v) for k, v in (("stride", 1), ("dilation", 1), ("kernel", 3))
    )
    reach = [dilation * (tap - kernel // 2) for tap in range(kernel)]
    expected = [[2 * stride + x, stride + y] for y in reach for x in reach]
    assert regular.tolist() == expected
    number = 1 * sampling.output_sizes[1] + 2
    offset = sampling.offset[1, number, 1].detach().numpy()
    np.testing.assert_allclose(displaced - regular, offset[:, ::-1], atol=1e-5)
    starts, moved = arrows(figure)
    np.testing.assert_allclose(starts + moved, displaced)
    figure.canvas.draw()


def test_points_over_an_image_are_in_pixels_and_stay_in_view():
    sampling = sampled(4, 6, spread=0.02)
    figure = plot_offsets(sampling, np.zeros((40, 120)), query=(0, 0))
    regular, displaced = dots(figure)
    assert regular[4].tolist() == [9.5, 4.5]  # the centre of the first cell of 10 x 20 pixels
    offset = sampling.offset[0, 0, 0].detach().numpy()
    np.testing.assert_allclose(displaced - regular, offset[:, ::-1] * (20, 10), rtol=1e-4)
    left, right = figure.axes[0].get_xlim()
    bottom, top = figure.axes[0].get_ylim()
    assert left < -10.5
    assert top < -5.5
    assert (right, bottom) == pytest.approx((119.5, 39.5))


def test_points_are_coloured_by_modulation():
    sampling = sampled(modulated=True)
    figure = plot_offsets(sampling, query=(2, 2))
    points = next(each for each in figure.axes[0].collections if each.get_label() == "displaced")
    expected = sampling.modulation[0, 2 * 7 + 2, 0].detach().numpy()
    np.testing.assert_allclose(points.get_array(), expected, rtol=1e-6)
    assert points.get_clim() == (0, 1)
    assert figure.axes[1].get_ylabel() == "modulation"


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize(("tokens", "stride"), [(6, 1), (5, 2), (1, 1)])
def test_lines_are_the_displacements_along_a_sequence(tokens, stride, causal):
    sampling = built(ndim=1, stride=stride).explain(torch.randn(2, tokens, 8), causal=causal)
    figure = plot_offsets(sampling, batch=1)
    lines = figure.axes[0].lines[:3]
    names = ["tap -2", "tap -1", "tap 0"] if causal else ["tap -1", "tap 0", "tap +1"]
    assert [line.get_label() for line in lines] == names
    moved = (sampling.positions - sampling.regular[:, None])[1, :, 0, :, 0].detach()
    for tap, line in enumerate(lines):
        assert line.get_xdata().tolist() == list(range(0, tokens, stride))
        np.testing.assert_allclose(line.get_ydata(), moved[:, tap], atol=1e-6)
    figure.canvas.draw()


def test_points_without_a_kernel_are_numbered_and_weights_have_their_own_range():
    attention = DeformableAttentionSpec(heads=2, points=2).build(8, ndim=1)
    figure = plot_offsets(attention.explain(torch.randn(1, 4, 8)))
    assert [line.get_label() for line in figure.axes[0].lines[:2]] == ["point 1", "point 2"]
    module = DCNv4Spec(groups=2).build(8)
    nn.init.constant_(module.weights.bias, -2.0)
    figure = plot_offsets(module.explain(torch.randn(1, 8, 3, 3)), query=(1, 1))
    points = next(each for each in figure.axes[0].collections if each.get_label() == "displaced")
    assert points.get_clim() == (-2, 1)


def test_a_replaced_convolution_of_a_model_is_shown():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, stride=2, padding=1))
    replace(model, DeformableConvSpec(), at="1")
    with capture_offsets(model, at="1") as calls:
        model(torch.randn(1, 3, 9, 6))
    [[sampling]] = calls.values()
    starts, moved = arrows(plot_offsets(sampling))
    assert starts[-1].tolist() == [4, 8]
    assert not moved.any()  # a new one has offsets of zero


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"query": (5, 0)}, "query"),
        ({"query": (0, 7)}, "query"),
        ({"query": (0,)}, "query"),
        ({"batch": 2}, "batch"),
        ({"group": 1}, "group"),
        ({"image": torch.zeros(2, 2, 2)}, "image"),
    ],
)
def test_arguments_out_of_range_are_refused(options, field):
    with pytest.raises(InputError) as raised:
        plot_offsets(sampled(), **options)
    assert raised.value.field == field


@pytest.mark.parametrize("options", [{"query": (0, 0)}, {"image": torch.zeros(3, 4, 5)}])
def test_a_sequence_has_no_image_and_no_query(options):
    with pytest.raises(InputError, match="sampling is of a sequence") as raised:
        plot_offsets(built(ndim=1).explain(torch.randn(1, 4, 8)), **options)
    assert raised.value.field in options
