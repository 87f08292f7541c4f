import numpy as np
import pytest
import torch
from torch import nn

from quatrain.figures import plot_alignment, plot_attention_map
from quatrain.insertion import insert
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttentionSpec, capture
from quatrain.specs import InputError


def built(ndim=2, heads=2, **fields):
    torch.manual_seed(0)
    return AttentionSpec(terms="1111", heads=heads, **fields).build(8, ndim=ndim)


def explained(height=5, width=7, batch=2, **fields):
    return built(**fields).explain(torch.randn(batch, 8, height, width))


def heat(figure):
    """The heat map and its values, without gaps: masked keys are NaN."""
    image = figure.axes[0].get_images()[-1]
    return image, np.ma.filled(image.get_array(), np.nan)


@pytest.mark.parametrize("size", [(5, 7), (1, 9), (4, 1), (1, 1)])
@pytest.mark.parametrize("head", [None, 1])
def test_the_heat_map_has_the_captured_weights(size, head):
    explanation = explained(*size)
    row, column = size[0] - 1, size[1] // 2
    figure = plot_attention_map(explanation, query=(row, column), batch=1, head=head)
    image, values = heat(figure)
    weights = explanation.weights[1, :, row * size[1] + column]
    expected = weights.double().mean(0) if head is None else weights[head]
    np.testing.assert_allclose(values, expected.detach().numpy().reshape(size), rtol=1e-6)
    assert values.sum() == pytest.approx(1, abs=1e-6)
    assert image.get_clim() == pytest.approx((0, values.max()))
    assert image.get_extent() == [-0.5, size[1] - 0.5, size[0] - 0.5, -0.5]


def test_the_box_is_at_the_query_in_pixels_of_the_image():
    figure = plot_attention_map(explained(), torch.randn(3, 50, 140), query=(2, 3))
    axes = figure.axes[0]
    [box] = axes.patches
    assert (box.get_x(), box.get_y()) == pytest.approx((59.5, 19.5))
    assert (box.get_width(), box.get_height()) == pytest.approx((20, 10))
    assert axes.get_images()[0].get_array().shape == (50, 140)
    assert axes.get_images()[1].get_extent() == pytest.approx([-0.5, 139.5, 49.5, -0.5])
    assert axes.get_xlim() == pytest.approx((-0.5, 139.5))
    assert axes.get_xlabel() == "column [pixels]"
    assert axes.get_title() == "Query at row 2, column 3; mean of 2 heads"


def test_a_query_that_was_captured_alone_looks_the_same():
    torch.manual_seed(0)
    model, x = nn.Sequential(built()), torch.randn(1, 8, 4, 5)
    with capture(model, query=(3, 1)) as one, capture(model) as whole:
        model(x)
    figures = [
        plot_attention_map(one["0"][0]),
        plot_attention_map(one["0"][0], query=(3, 1)),
        plot_attention_map(whole["0"][0], query=(3, 1)),
    ]
    values = [heat(figure)[1] for figure in figures]
    np.testing.assert_allclose(values[0], values[2], rtol=1e-5)
    assert len({figure.axes[0].get_title() for figure in figures}) == 1
    with pytest.raises(InputError, match="is not explained"):
        plot_attention_map(one["0"][0], query=(0, 0))


def test_without_a_query_it_is_the_centre():
    figure = plot_attention_map(explained())
    assert figure.axes[0].get_title().startswith("Query at row 2, column 3")


def test_keys_outside_of_the_window_are_not_drawn():
    explanation = explained(window=3)
    _, values = heat(plot_attention_map(explanation, query=(0, 6)))
    assert np.isfinite(values).sum() == 4
    assert np.isfinite(values[:2, 5:]).all()
    assert np.nansum(values) == pytest.approx(1, abs=1e-6)


def test_a_key_covers_the_cells_up_to_the_next_one():
    explanation = explained(5, 7, key_stride=3)
    image, values = heat(plot_attention_map(explanation, torch.zeros(3, 10, 14)))
    assert values.shape == (2, 3)
    # Keys at rows 0 and 3 and columns 0, 3, 6 of 2 x 2 pixels; the last ones reach over the edge.
    assert image.get_extent() == pytest.approx([-0.5, 17.5, 11.5, -0.5])
    assert image.axes.get_xlim() == pytest.approx((-0.5, 13.5))


def test_a_fully_masked_query_is_blank():
    padding = torch.ones(1, 12, dtype=torch.bool)
    explanation = built().explain(torch.randn(1, 8, 3, 4), key_padding_mask=padding)
    figure = plot_attention_map(explanation)
    assert np.isnan(heat(figure)[1]).all()
    figure.canvas.draw()


def test_a_mixer_inserted_into_a_model_is_shown():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU())
    x = torch.randn(1, 3, 20, 28)
    insert(model, AttentionSpec(terms="0110", heads=2), after="0", example=x)
    with capture(model, at="0") as explanations:
        model(x)
    [(explanation,)] = explanations.values()
    _, values = heat(plot_attention_map(explanation, x[0], query=(4, 6)))
    assert values.shape == (5, 7)
    assert values.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"query": (5, 0)}, "query"),
        ({"query": (0, -1)}, "query"),
        ({"query": (0,)}, "query"),
        ({"batch": 2}, "batch"),
        ({"head": 2}, "head"),
        ({"image": torch.zeros(7)}, "image"),
    ],
)
def test_arguments_out_of_range_are_refused(options, field):
    with pytest.raises(InputError) as raised:
        plot_attention_map(explained(), **options)
    assert raised.value.field == field


def translated():
    torch.manual_seed(0)
    spec = AttentionSpec(terms="1111", heads=2)
    mixers = {"encoder_self": spec, "decoder_self": spec, "cross": spec}
    model = TranslatorSpec(width=8, layers=1, feed_forward=12, **mixers).build(20).eval()
    with capture(model) as explanations:
        model(torch.tensor([[3, 4, 5, 0], [6, 7, 8, 9]]), torch.tensor([[1, 5, 6], [1, 7, 8]]))
    return {name: calls[0] for name, calls in explanations.items()}


def labels(axis):
    return [text.get_text() for text in axis.get_ticklabels()]


def test_an_alignment_has_the_weights_of_a_translator_and_its_tokens():
    explanation = translated()["decoder.0.cross_attention.mixer"]
    target, source = ["<s>", "$a_", "b$"], ["x", "y", "z", "%"]
    figure = plot_alignment(explanation, target, source, batch=1, head=0)
    _, values = heat(figure)
    np.testing.assert_allclose(values, explanation.weights[1, 0].detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-6)
    axes = figure.axes[0]
    assert labels(axes.yaxis) == target
    assert labels(axes.xaxis) == source
    figure.canvas.draw()


def test_padding_may_be_left_out_of_an_alignment():
    explanation = translated()["decoder.0.cross_attention.mixer"]
    figure = plot_alignment(explanation, ["<s>", "a"], ["x", "y", "z"])
    _, values = heat(figure)
    expected = explanation.weights[0, :, :2, :3].mean(0).detach().numpy()
    np.testing.assert_allclose(values, expected, rtol=1e-6)
    np.testing.assert_allclose(values.sum(1), 1, rtol=1e-6)
    with pytest.raises(InputError, match="keys after them have weight"):
        plot_alignment(explanation, ["<s>", "a"], ["x", "y"])


def test_future_keys_are_not_drawn():
    explanation = translated()["decoder.0.self_attention.mixer"]
    _, values = heat(plot_alignment(explanation, ["<s>", "a", "b"], batch=1))
    assert np.isnan(values).tolist() == np.triu(np.ones((3, 3)), 1).astype(bool).tolist()


def test_a_sentence_of_one_token_and_a_fully_masked_one_are_drawn():
    attention = built(ndim=1)
    one = plot_alignment(attention.explain(torch.randn(1, 1, 8)), ["a"])
    assert heat(one)[1].tolist() == [[1]]
    mask = torch.tensor([[True, True, False], [False] * 3, [True] * 3])
    explanation = attention.explain(torch.randn(1, 3, 8), attend_mask=mask)
    figure = plot_alignment(explanation, ["a", "b", "c"])
    values = heat(figure)[1]
    np.testing.assert_allclose(np.nansum(values, 1), [1, 0, 1], rtol=1e-6)
    assert np.isnan(values[1]).all()
    figure.canvas.draw()


def test_one_query_and_a_key_stride_select_their_tokens():
    attention = built(ndim=1, key_stride=2)
    explanation = attention.explain(torch.randn(1, 5, 8), at=(3,))
    figure = plot_alignment(explanation, list("abcde"))
    assert heat(figure)[1].shape == (1, 3)
    assert labels(figure.axes[0].yaxis) == ["d"]
    assert labels(figure.axes[0].xaxis) == ["a", "c", "e"]


@pytest.mark.parametrize(
    ("tokens", "field"),
    [
        ({"query_tokens": "abc"}, "query_tokens"),
        ({"query_tokens": list("abcd")}, "query_tokens"),
        ({"query_tokens": []}, "query_tokens"),
        ({"query_tokens": ["a"], "key_tokens": list("abcdef")}, "key_tokens"),
        ({"query_tokens": ["a"], "batch": -1}, "batch"),
    ],
)
def test_tokens_that_do_not_fit_are_refused(tokens, field):
    explanation = translated()["decoder.0.cross_attention.mixer"]
    with pytest.raises(InputError) as raised:
        plot_alignment(explanation, **tokens)
    assert raised.value.field == field


def test_each_figure_names_the_other_for_the_wrong_kind():
    with pytest.raises(InputError, match="use plot_alignment"):
        plot_attention_map(built(ndim=1).explain(torch.randn(1, 3, 8)))
    with pytest.raises(InputError, match="use plot_attention_map"):
        plot_alignment(explained(), ["a"])


def test_a_long_sentence_stays_of_bounded_size():
    explanation = built(ndim=1).explain(torch.randn(1, 300, 8))
    figure = plot_alignment(explanation, ["word"] * 300)
    assert max(figure.get_size_inches()) < 20
