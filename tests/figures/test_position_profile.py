import itertools
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from quatrain.figures import plot_position_profile, position_profile
from quatrain.nn import AttentionSpec
from quatrain.specs import InputError


def explained(*sizes, heads=2, batch=2, terms="1111", arguments=None, **fields):
    torch.manual_seed(0)
    ndim = len(sizes)
    module = AttentionSpec(terms=terms, heads=heads, **fields).build(8, ndim=ndim)
    x = torch.randn(batch, 8, *sizes) if ndim == 2 else torch.randn(batch, *sizes, 8)
    return module.explain(x, **(arguments or {}))


def by_loops(explanation, skipped=()):
    """Mean weight by relative position: {(head, offset): mean}, over allowed pairs."""
    grid, weights = explanation.grid, explanation.weights.detach()
    mask = explanation.support
    mask = torch.ones_like(weights, dtype=torch.bool) if mask is None else mask.expand_as(weights)
    queries = [*itertools.product(*map(range, grid.queries))]
    keys = [*itertools.product(*map(range, grid.keys))]
    found = {}
    for b, h, q, k in itertools.product(*map(range, weights.shape)):
        if mask[b, h, q, k] and (b, q) not in skipped:
            offset = tuple(
                grid.key_stride * key - query
                for key, query in zip(keys[k], queries[q], strict=True)
            )
            found.setdefault((h, offset), []).append(float(weights[b, h, q, k]))
    return {place: math.fsum(values) / len(values) for place, values in found.items()}


def as_dictionary(profile):
    places = itertools.product(range(len(profile.weight)), itertools.product(*profile.relative))
    pairs = zip(places, profile.weight.flatten().tolist(), strict=True)
    return {place: value for place, value in pairs if not math.isnan(value)}


PADDING = torch.tensor([[False] * 5, [False] * 3 + [True] * 2])


@pytest.mark.parametrize(
    ("sizes", "fields", "arguments"),
    [
        ((5,), {}, {}),
        ((1,), {}, {}),
        ((5,), {"window": 3}, {}),
        ((5,), {"key_stride": 2}, {}),
        ((5,), {}, {"causal": True}),
        ((5,), {}, {"key_padding_mask": PADDING}),
        ((5,), {}, {"attend_mask": torch.eye(5, dtype=torch.bool)[:, [1, 2, 3, 4, 0]]}),
        ((3, 4), {}, {}),
        ((1, 5), {}, {}),
        ((4, 3), {"window": 3, "key_stride": 2}, {}),
        ((3, 4), {"heads": 1}, {}),
    ],
)
def test_the_profile_is_the_mean_over_pairs_by_loops(sizes, fields, arguments):
    explanation = explained(*sizes, arguments=arguments, **fields)
    profile = position_profile(explanation)
    assert as_dictionary(profile) == pytest.approx(by_loops(explanation))


def test_uniform_weights_have_a_constant_profile():
    profile = position_profile(explained(3, 4, terms="0000"))
    assert profile.relative == (range(-2, 3), range(-3, 4))
    assert_close(profile.weight, torch.full((2, 5, 7), 1 / 12, dtype=torch.float64))


def test_the_profile_of_one_query_is_its_weights():
    torch.manual_seed(0)
    module = AttentionSpec(terms="1111", heads=2).build(8)
    x = torch.randn(1, 8, 3, 5)
    profile = position_profile(module.explain(x, at=(2, 1)))
    assert profile.relative == (range(-2, 1), range(-1, 4))
    weights = module.explain(x).weights[0, :, 2 * 5 + 1].reshape(2, 3, 5)
    assert_close(profile.weight, weights.detach().double(), atol=1e-6, rtol=1e-5)
    assert_close(profile.weight.sum((1, 2)), torch.ones(2, dtype=torch.float64))


def test_a_window_limits_the_relative_positions():
    profile = position_profile(explained(9, 9, window=3))
    assert profile.relative == (range(-1, 2), range(-1, 2))


def test_padded_and_fully_masked_queries_are_left_out():
    mask = torch.ones(5, 5, dtype=torch.bool)
    mask[2] = False
    explanation = explained(5, arguments={"attend_mask": mask})
    profile = position_profile(explanation, query_padding_mask=PADDING)
    skipped = {(1, 3), (1, 4)}
    assert as_dictionary(profile) == pytest.approx(by_loops(explanation, skipped))
    with pytest.raises(InputError) as raised:
        position_profile(explanation, query_padding_mask=PADDING[:1])
    assert raised.value.field == "query_padding_mask"


def test_a_curve_for_each_head_has_the_profile():
    explanation = explained(6, heads=4, arguments={"causal": True})
    figure = plot_position_profile(explanation)
    profile = position_profile(explanation)
    curves = [line for line in figure.axes[0].lines if line.get_label().startswith("head")]
    assert [line.get_label() for line in curves] == [f"head {head}" for head in range(4)]
    for line, expected in zip(curves, profile.weight, strict=True):
        assert line.get_xdata().tolist() == list(range(-5, 1))
        np.testing.assert_array_equal(line.get_ydata(), expected)
    figure.canvas.draw()


@pytest.mark.parametrize(("heads", "panels"), [(1, 1), (2, 2), (8, 8)])
def test_a_map_for_each_head_has_the_profile_and_shares_the_colours(heads, panels):
    explanation = explained(3, 6, heads=heads)
    figure = plot_position_profile(explanation)
    profile = position_profile(explanation)
    images = [axes.get_images()[0] for axes in figure.axes if axes.get_images()]
    assert len(images) == panels
    for image, expected in zip(images, profile.weight, strict=True):
        np.testing.assert_array_equal(np.ma.filled(image.get_array(), np.nan), expected)
        assert image.get_extent() == [-5.5, 5.5, 2.5, -2.5]
        assert image.get_clim() == pytest.approx((0, float(profile.weight.max())))
    figure.canvas.draw()


@pytest.mark.parametrize("sizes", [(1,), (1, 1), (4,), (2, 3)])
def test_without_any_pair_the_figure_is_empty(sizes):
    count = math.prod(sizes)
    padding = torch.ones(2, count, dtype=torch.bool)
    explanation = explained(*sizes, arguments={"key_padding_mask": padding})
    assert position_profile(explanation).weight.isnan().all()
    plot_position_profile(explanation).canvas.draw()
