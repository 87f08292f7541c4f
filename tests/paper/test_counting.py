import pytest
import torch

from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper import counting
from quatrain.paper.published import pairs, points

# modules as (how many, channels, size of the map): two stages, and in segmentation one module more
DETECTION = ((6, 256, (50, 84)), (3, 512, (25, 42)))
SEGMENTATION = ((6, 256, (96, 96)), (4, 512, (96, 96)))


ROUNDED = 0.15
"""Base and total are both published to one digit, and the cheap logits of E3 and E4 left out."""


def overhead(config, modules):
    """Giga multiply-adds that the attention modules add to a vision network."""
    spec = parse_mixer(config)
    if spec is None:
        return 0.0
    with torch.device("meta"):
        built = [(count, spec.build(channels), size) for count, channels, size in modules]
    return (
        sum(count * counting.attention(module, size, size) for count, module, size in built) / 1e9
    )


def compared(table, modules):
    """Published and computed cost of the term sets, computed on the published base network."""
    figure = [point for point in points(table) if "deformable" not in point.config]
    base = next(point.giga_multiply_adds for point in figure if point.config == "w/o")
    return [(point, base + overhead(point.config, modules)) for point in figure]


@pytest.mark.parametrize(
    ("table", "modules"), [("figure-3a", DETECTION), ("figure-3b", SEGMENTATION)]
)
def test_the_convention_gives_the_published_vision_costs(table, modules):
    far = {
        point.config
        for point, computed in compared(table, modules)
        if abs(computed - point.giga_multiply_adds) > ROUNDED
    }
    assert far == {point.config for point in points(table) if point.note}


@pytest.mark.parametrize(
    ("task", "table", "modules"),
    [("detection", "figure-3a", DETECTION), ("segmentation", "figure-3b", SEGMENTATION)],
)
def test_the_convention_gives_the_published_costs_of_windows(task, table, modules):
    base = points(table)[0].giga_multiply_adds
    for pair in pairs("table-3", task):
        computed = base + overhead(pair.left, modules)
        assert computed == pytest.approx(pair.giga_multiply_adds[0], abs=ROUNDED), pair


def test_all_terms_on_a_sequence_by_hand():
    module = AttentionSpec(terms="1111", heads=2).build(8, ndim=1, key_channels=6)
    query_and_output, key_and_value, offsets = 2 * 3 * 8 * 8, 2 * 5 * 6 * 8, 7 * 8 * 8
    logits_and_sum = 2 * 3 * 5 * 8
    expected = query_and_output + key_and_value + offsets + logits_and_sum
    assert counting.attention(module, (3,), (5,)) == expected


@pytest.mark.parametrize("terms", ["0000", "0010"])
def test_weights_that_are_the_same_for_all_queries_cost_projections_and_one_mean(terms):
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=1)
    projections, vectors = (3, 2) if terms == "0010" else (2, 1)
    assert counting.attention(module, (4,), (4,)) == projections * 4 * 8 * 8 + vectors * 4 * 8
