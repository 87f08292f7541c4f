import pytest
from torch import nn

from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.paper import counting


def test_attention_with_all_terms_on_a_sequence():
    module = AttentionSpec(terms="1111", heads=2).build(8, ndim=1, key_channels=6)
    query_and_output, key_and_value, offsets = 2 * 3 * 8 * 8, 2 * 5 * 6 * 8, 7 * 8 * 8
    logits_and_sum = 2 * 3 * 5 * 8
    expected = query_and_output + key_and_value + offsets + logits_and_sum
    assert counting.count_attention(module, (3,), (5,)) == expected


@pytest.mark.parametrize("terms", ["0000", "0010"])
def test_weights_shared_by_all_queries_cost_projections_and_one_mean(terms):
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=1)
    projections, vectors = (3, 2) if terms == "0010" else (2, 1)
    expected = projections * 4 * 8 * 8 + vectors * 4 * 8
    assert counting.count_attention(module, (4,), (4,)) == expected


def test_deformable_convolution_counts_as_the_regular_one():
    counted = [
        counting.count_mixer(parse_mixer(name).build(8), (5, 6))
        for name in ("regular@3", "w/o+deformable")
    ]
    assert counted == [9 * 8 * 8 * 5 * 6] * 2


def test_combined_mixer_costs_the_sum_of_its_parts():
    parts = [
        counting.count_mixer(parse_mixer(name).build(8), (5, 6))
        for name in ("0010", "w/o+deformable", "0010+deformable")
    ]
    assert parts[2] == parts[0] + parts[1]


def test_other_modules_are_rejected():
    with pytest.raises(TypeError):
        counting.count_mixer(nn.Linear(8, 8), (4,))
