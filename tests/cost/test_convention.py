import pytest
import torch
from torch import nn

from closed_forms import translator_by_convention
from quatrain.cost import count_multiply_adds
from quatrain.cost.convention import count_attention, count_mixer
from quatrain.insertion import insert
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.convolution import RegularConvSpec
from quatrain.nn.generalized_attention import AttentionSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import ALL_TERM_SETS


def test_attention_with_all_terms_on_a_sequence():
    module = AttentionSpec(terms="1111", heads=2).build(8, ndim=1, key_channels=6)
    query_and_output, key_and_value, offsets = 2 * 3 * 8 * 8, 2 * 5 * 6 * 8, 7 * 8 * 8
    logits_and_sum = 2 * 3 * 5 * 8
    expected = query_and_output + key_and_value + offsets + logits_and_sum
    assert count_attention(module, (3,), (5,)) == expected


@pytest.mark.parametrize("terms", ["0000", "0010"])
def test_weights_shared_by_all_queries_cost_projections_and_one_mean(terms):
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=1)
    projections, vectors = (3, 2) if terms == "0010" else (2, 1)
    expected = projections * 4 * 8 * 8 + vectors * 4 * 8
    assert count_attention(module, (4,), (4,)) == expected


def test_deformable_convolution_counts_as_the_regular_one():
    counted = [
        count_mixer(parse_mixer(name).build(8), (5, 6)) for name in ("regular@3", "w/o+deformable")
    ]
    assert counted == [9 * 8 * 8 * 5 * 6] * 2


def test_combined_mixer_costs_the_sum_of_its_parts():
    parts = [
        count_mixer(parse_mixer(name).build(8), (5, 6))
        for name in ("0010", "w/o+deformable", "0010+deformable")
    ]
    assert parts[2] == parts[0] + parts[1]


@pytest.mark.parametrize("name", ["1010 rope", "0010 null", "0010 gate+deformable"])
def test_attention_with_extensions_is_rejected(name):
    with pytest.raises(TypeError):
        count_mixer(parse_mixer(name, heads=2).build(16), (5, 6))


def test_other_modules_are_rejected():
    with pytest.raises(TypeError):
        count_mixer(nn.Linear(8, 8), (4,))


def test_strides_reduce_outputs_of_convolutions_and_keys_of_attention():
    attention = AttentionSpec(terms="0110", heads=2, key_stride=2)
    keys, queries = 3 * 2, 5 * 4
    projections = 2 * 8 * 8 * (queries + keys) + 2 * 4 * 8 * ((4 + 5) + (3 + 3))
    logits_and_sum = queries * 8 * ((3 + 2) + keys)
    assert count_mixer(attention.build(8), (5, 4)) == projections + logits_and_sum
    strided = RegularConvSpec(stride=2)
    assert count_mixer(strided.build(8), (5, 4)) == 9 * 8 * 8 * keys
    plain = AttentionSpec(terms="0110", heads=2)
    combined = AttendedSpec(convolution=strided, attention=plain).build(8)
    expected = count_mixer(strided.build(8), (5, 4)) + count_mixer(plain.build(8), (3, 2))
    assert count_mixer(combined, (5, 4)) == expected


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
def test_terms_that_are_switched_off_cost_nothing(terms):
    module = AttentionSpec(terms="1111", heads=2).build(8)
    module.terms = terms
    assert count_mixer(module, (5, 4)) == count_mixer(
        AttentionSpec(terms=terms, heads=2).build(8), (5, 4)
    )


NAMES = ("0000", "0010", "0011", "0110", "1111", "0100@5", "dynamic@5", "regular", "deformable")


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("name", [*NAMES, "0010+deformable"])
def test_a_mixer_is_counted_at_the_sizes_of_its_input(name, ndim):
    shape, sizes = ((3, 7, 16), (7,)) if ndim == 1 else ((3, 16, 5, 6), (5, 6))
    mixer = parse_mixer(name).build(16, ndim)
    counted = count_multiply_adds(mixer, torch.zeros(shape))
    assert counted.by_convention == 3 * count_mixer(mixer, sizes)


def test_a_network_costs_what_it_executes_outside_of_mixers_and_the_number_of_each_call():
    plain = nn.Sequential(nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, stride=2))
    images = torch.zeros(2, 3, 9, 8)
    network = nn.Sequential(plain, plain[1])
    before = count_multiply_adds(network, images)
    assert before.by_convention == before
    insert(network, parse_mixer("0110", heads=2), after="0.0", example=images)
    shared = parse_mixer("0010+deformable", heads=2).build(16)
    counted = count_multiply_adds(nn.Sequential(network, shared, shared), images)
    inserted = network[0][0].block.mixer
    added = count_mixer(inserted, (9, 8)) + 2 * count_mixer(shared, (1, 1))
    assert counted.by_convention == before + 2 * added
    assert counted != counted.by_convention


@pytest.mark.parametrize("cross", ["0010", "1111"])
def test_cross_attention_is_counted_at_the_sizes_of_queries_and_keys(cross):
    mixer, cross = (AttentionSpec(terms=terms, heads=2) for terms in ("1011", cross))
    spec = TranslatorSpec(
        width=16, feed_forward=24, layers=2, encoder_self=mixer, decoder_self=None, cross=cross
    )
    translator = spec.build(vocabulary=7)
    source, target = torch.ones(1, 9, dtype=torch.long), torch.ones(1, 4, dtype=torch.long)
    expected = translator_by_convention(translator, source=9, target=4) + 4 * 16 * 7
    assert count_multiply_adds(translator, source, target).by_convention == expected


def test_a_network_with_a_mixer_that_the_paper_lacks_has_no_number():
    network = nn.Sequential(parse_mixer("lightweight").build(16), parse_mixer("0010").build(16))
    assert count_multiply_adds(network, torch.zeros(1, 16, 4, 5)).by_convention is None
    assert count_multiply_adds(network[1:], torch.zeros(1, 16, 4, 5)).by_convention is not None
