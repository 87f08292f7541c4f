import copy

import pytest
import torch
from torch import nn

from quatrain.cost import count_multiply_adds
from quatrain.insertion import Inserted, find, insert, remove, replace
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.regular_conv import RegularConvSpec
from quatrain.specs import InputError, SpecError

MIXERS = ["0010", "0011", "0110", "1111", "0100@3", "dynamic@3", "lightweight@3"]


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Sequential(nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16), nn.ReLU()),
        nn.Sequential(
            nn.Conv2d(16, 16, 3, stride=2, padding=2, dilation=2, groups=2, bias=False), nn.ReLU()
        ),
    ).eval()


def images():
    return torch.randn(2, 3, 7, 10, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("text", MIXERS)
@pytest.mark.parametrize("place", [{"after": "*"}, {"before": "1.0"}])
def test_an_inserted_mixer_is_the_identity_at_first_bit_for_bit(text, place):
    model, x = network(), images()
    expected = model(x)
    insert(model, parse_mixer(text), **place, example=x)
    assert torch.equal(model(x), expected)


def test_undo_and_remove_leave_the_same_objects_under_the_same_names():
    model, x = network(), images()
    modules, keys, expected = dict(model.named_modules()), list(model.state_dict()), model(x)
    for take_back in (lambda change: change.undo(), lambda _: remove(model)):
        take_back(insert(model, parse_mixer("1111"), after="**", example=x))
        found = dict(model.named_modules())
        assert list(found) == list(modules)
        assert all(found[name] is module for name, module in modules.items())
        assert list(model.state_dict()) == keys
        assert torch.equal(model(x), expected)


def test_sequences_are_recognised():
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).train()
    x = torch.randn(2, 5, 16)
    change = insert(model, parse_mixer("0110"), after="layers.*.linear2", example=x)
    assert [module.block.mixer.ndim for module in change.now.values()] == [1, 1]


def test_weights_from_before_the_insertion_load_and_those_from_after_too():
    model, x = network(), images()
    plain = model.state_dict()
    insert(model, parse_mixer("1111"), after="*", example=x)
    own = copy.deepcopy(model.state_dict())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(plain)
    assert torch.equal(other[0].original[0].weight, plain["0.0.weight"])
    assert not torch.equal(other[0].block.mixer.value.weight, own["0.block.mixer.value.weight"])
    other.load_state_dict(own)
    torch.testing.assert_close(other.state_dict(), own, rtol=0, atol=0)


@pytest.mark.parametrize("mixer", [RegularConvSpec(), DeformableConvSpec()])
def test_a_convolution_takes_over_the_taps_and_the_weight_of_the_one_it_replaces(mixer):
    model, x = network(), images()
    expected = model(x)
    change = replace(model, mixer, at="1.0")
    assert type(model[1][0]).__name__ == type(mixer.build(16)).__name__
    torch.testing.assert_close(model(x), expected)
    change.undo()
    assert torch.equal(model(x), expected)


def test_other_mixers_replace_what_keeps_its_width():
    model, x = network(), images()
    replace(model, parse_mixer("0010"), at="0.2", example=x)
    assert model[0][2].channels == 16
    assert model(x).shape == (2, 16, 4, 5)


def test_a_convolution_that_cannot_be_taken_over_is_refused_and_nothing_is_changed():
    model = network()
    with pytest.raises(SpecError, match="keeps its channels"):
        replace(model, DeformableConvSpec(), at="*.0")
    assert all(isinstance(each, nn.Conv2d) for each in find(model, "*.0").values())


def test_a_module_that_is_tied_to_another_name_is_refused():
    model = network()
    model[0].add_module("again", model[0][2])
    with pytest.raises(InputError, match=r"also 0\.again.*tied"):
        insert(model, parse_mixer("0010"), after="0.2", example=images())


@pytest.mark.parametrize("places", [{}, {"after": "0", "before": "1"}])
def test_exactly_one_place_is_named(places):
    with pytest.raises(InputError, match="one of them"):
        insert(network(), parse_mixer("0010"), **places, example=images())


def test_what_is_missing_is_told():
    model = network()
    with pytest.raises(InputError, match="example is None"):
        replace(model, parse_mixer("0010"), at="0.2")
    with pytest.raises(InputError, match="something inserted"):
        remove(model)
    change = insert(model, parse_mixer("0010"), after="0", example=images())
    remove(model)
    with pytest.raises(InputError, match="undo later changes first"):
        change.undo()


def test_it_serves_models_without_numbers_and_keeps_types_and_modes():
    with torch.device("meta"):
        model = network()
        plain = count_multiply_adds(model, torch.empty(1, 3, 8, 8))
        insert(model, parse_mixer("0010"), after="0", example=torch.empty(1, 3, 8, 8))
        assert count_multiply_adds(model, torch.empty(1, 3, 8, 8)) > plain
    half = network().to(torch.bfloat16).train()
    insert(half, parse_mixer("0010"), after="0", example=images().to(torch.bfloat16))
    assert isinstance(half[0], Inserted)
    assert half[0].block.training
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


@pytest.mark.compile
def test_the_changed_model_compiles_into_one_graph():
    torch.compiler.reset()
    model, x = network(), images()
    insert(model, parse_mixer("1111"), after="0", example=x)
    replace(model, DeformableConvSpec(), at="1.0")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))
