import copy
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from laws import unchecked
from quatrain import insertion
from quatrain.cost import count_multiply_adds
from quatrain.insertion import InsertionWrapper, ReplacementWrapper, insert, remove, replace
from quatrain.nn.convolution import RegularConvSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError, SpecError

MIXERS = ["0010", "0011", "0110", "1111", "0100@3", "dynamic@3", "lightweight@3", "dcnv4"]
BEFORE, AFTER = {"before": "1.0"}, {"after": "*"}


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


@pytest.mark.parametrize(("text", "place"), [*((text, AFTER) for text in MIXERS), ("0110", BEFORE)])
def test_insertion_does_not_change_outputs_bit_for_bit(text, place):
    model, x = network(), images()
    expected = model(x)
    insert(model, parse_mixer(text), **place, example=x)
    assert torch.equal(model(x), expected)


def test_removal_restores_the_same_objects_and_names():
    model, x = network(), images()
    modules, keys, expected = dict(model.named_modules()), list(model.state_dict()), model(x)
    for undo in (lambda surgery: surgery.remove(), lambda _: remove(model)):
        undo(insert(model, parse_mixer("1111"), after="**", example=x))
        restored = dict(model.named_modules())
        assert list(restored) == list(modules)
        assert all(restored[name] is module for name, module in modules.items())
        assert list(model.state_dict()) == keys
        assert torch.equal(model(x), expected)


def test_surgery_prints_the_places_and_their_shapes():
    model, x = network(), images()
    inserted = insert(model, parse_mixer("0010"), after="*", example=x)
    assert repr(inserted).splitlines() == [
        "Surgery of Sequential, 2 places:",
        "  0  (N, 16, H, W)  GeneralizedAttention after Sequential",
        "  1  (N, 16, H, W)  GeneralizedAttention after Sequential",
    ]
    replaced = replace(model, DeformableConvSpec(), at="1.original.0")
    (line,) = repr(replaced).splitlines()[1:]
    assert line == "  1.original.0  (N, 16, H, W)  DeformableConv instead of Conv2d"
    assert "(N, 16, H, W)" in repr(model[0])


def test_names_before_0_2_are_aliases():
    assert insertion.Change is insertion.Surgery
    assert (insertion.Inserted, insertion.Replaced) == (InsertionWrapper, ReplacementWrapper)
    assert insertion.Surgery.undo is insertion.Surgery.remove


def test_nested_places_each_get_a_mixer_that_is_called():
    model, x = network(), images()
    surgery = insert(model, parse_mixer("0010"), after="**", example=x)
    assert any(
        name.startswith(f"{outer}.") for name in surgery.wrappers for outer in surgery.wrappers
    )
    called = []
    for name, wrapper in surgery.wrappers.items():
        wrapper.block.register_forward_hook(lambda *_, name=name: called.append(name))
    model(x).sum().backward()
    assert sorted(called) == sorted(surgery.wrappers)
    assert all(each.block.gamma.grad is not None for each in surgery.wrappers.values())
    with pytest.raises(InputError) as caught:
        replace(network(), parse_mixer("0010"), at="**", example=x)
    assert caught.value.field == "0.0"


LAYOUTS = [
    (nn.Sequential(nn.Conv1d(3, 16, 3, padding=1)), (2, 3, 5), None, (0, 2, 1)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 5, 3), None, (0, 1, 2)),
    (nn.Sequential(nn.Linear(3, 16)), (5, 2, 3), "time_first", (1, 0, 2)),
    (nn.Sequential(nn.Conv2d(3, 16, 3, padding=1)), (2, 3, 4, 5), None, (0, 1, 2, 3)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 4, 5, 3), None, (0, 3, 1, 2)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 4, 5, 3), "channels_last", (0, 3, 1, 2)),
]


@pytest.mark.parametrize(("model", "shape", "layout", "permutation"), LAYOUTS)
@pytest.mark.parametrize("text", ["0011", "dynamic@3"])
def test_mixer_reads_each_layout(model, shape, layout, permutation, text):
    torch.manual_seed(0)
    model, x = copy.deepcopy(model).eval(), torch.randn(shape)
    plain = model(x)
    surgery = insert(model, parse_mixer(text), after="0", example=x, layout=layout)
    assert torch.equal(model(x), plain)
    block = surgery.wrappers["0"].block
    nn.init.constant_(block.gamma, 2.0)
    back = torch.tensor(permutation).argsort().tolist()
    expected = plain + 2 * block.mixer(plain.permute(permutation)).permute(back)
    torch.testing.assert_close(model(x), expected)
    assert not torch.allclose(model(x), plain)


def test_replacement_reads_the_layout_of_the_place():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(16, 16)), torch.randn(5, 2, 16)
    surgery = replace(model, parse_mixer("0110"), at="0", example=x, layout="time_first")
    expected = surgery.wrappers["0"].block(x.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("layout", [None, "channels_last"])
def test_sequences_of_a_batch_are_independent(layout):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 16)
    surgery = insert(model, parse_mixer("0110"), after="layers.*.linear2", example=x, layout=layout)
    for each in surgery.wrappers.values():
        nn.init.ones_(each.block.gamma)
    changed = torch.cat((x[:1], x[1:] + 1))
    torch.testing.assert_close(model(x)[0], model(changed)[0])


def test_weights_saved_before_and_after_the_insertion_load():
    model, x = network(), images()
    plain = model.state_dict()
    insert(model, parse_mixer("1111"), after="*", example=x)
    current = copy.deepcopy(model.state_dict())
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
    other.load_state_dict(plain)
    assert torch.equal(other[0].original[0].weight, plain["0.0.weight"])
    assert not torch.equal(other[0].block.mixer.value.weight, current["0.block.mixer.value.weight"])
    other.load_state_dict(current)
    torch.testing.assert_close(other.state_dict(), current, rtol=0, atol=0)


def test_remove_undoes_nested_insertions_and_replacements():
    model, x = network(), images()
    modules, expected = dict(model.named_modules()), model(x)
    insert(model, parse_mixer("0010"), after="1.0", example=x)
    replace(model, DeformableConvSpec(), at="1.0.original")
    replace(model, parse_mixer("0011"), at="0.2", example=x)
    insert(model, parse_mixer("0110"), after="0.2", example=x)
    insert(model, parse_mixer("0010"), after="1", example=x)
    assert remove(model) == ["0.2", "1", "1.0"]
    assert dict(model.named_modules()) == modules
    assert torch.equal(model(x), expected)


def test_wrapper_with_two_names_is_removed_under_both():
    model, x = network(), images()
    module = model[0][2]
    insert(model, parse_mixer("0010"), after="0.2", example=x)
    model[0].add_module("again", model[0][2])
    remove(model)
    assert model[0][2] is module is model[0].again


def test_replaced_modules_return_without_the_mixers_in_them():
    model, x = network(), images()
    first = model[0]
    insert(model, parse_mixer("0010"), after="0.0", example=x)
    replace(model, RegularConvSpec(), at="1.0")
    model[1] = nn.Sequential(model[1], nn.Sequential(nn.Conv2d(16, 16, 1)))
    insert(model, parse_mixer("0010"), after="1.1.0", example=x)
    replace(model, parse_mixer("0010"), at="1.1", example=x)
    remove(model)
    assert model[0] is first
    assert not [m for m in model.modules() if isinstance(m, InsertionWrapper | ReplacementWrapper)]


def test_replacement_requires_as_many_channels_out_as_in():
    model, x = network(), images()
    surgery = replace(model, parse_mixer("0010"), at="0.2", example=x)
    assert surgery.wrappers["0.2"].block.channels == 16
    assert model(x).shape == (2, 16, 4, 5)
    with pytest.raises(InputError) as caught:
        replace(network(), parse_mixer("0010"), at="0.0", example=x)
    assert caught.value.field == "0.0"


@pytest.mark.parametrize("text", ["1111", "dynamic@3", "0010+deformable"])
def test_initial_weights_depend_on_seed_and_name_alone(text):
    def weights(*places, seed):
        model = network()
        for place in places:
            insert(model, parse_mixer(text), after=place, example=images(), seed=seed)
        return model[1][1].block.state_dict(), model[1][1]

    alone, _ = weights("1.1", seed=5)
    torch.testing.assert_close(weights("0", "1.0", "1.1", seed=5)[0], alone, rtol=0, atol=0)
    assert _differ(weights("1.1", seed=6)[0], alone)
    outer, place = weights("1.1", "1.1", seed=5)
    assert _differ(outer, place.original.block.state_dict())
    model = network()
    surgery = insert(model, parse_mixer(text), after="*", example=images(), seed=5)
    first, second = (each.block.state_dict() for each in surgery.wrappers.values())
    assert _differ(first, second)


def _differ(one, other):
    return any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("text", ["0010", "1111"])
def test_default_seed_takes_one_number_from_the_random_state(text):
    model = network()
    torch.randint(2**62, ())
    expected = torch.rand(())
    model = network()
    insert(model, parse_mixer(text), after="**", example=images())
    assert torch.equal(torch.rand(()), expected)


def test_mixer_with_a_stride_raises():
    for model, change in ((network(), insert), (network(), replace)):
        place = {"after": "0.2"} if change is insert else {"at": "0.2"}
        with pytest.raises(SpecError) as caught:
            change(model, RegularConvSpec(stride=2), **place, example=images())
        assert caught.value.field == "stride"


def test_tied_module_raises():
    model = network()
    model[0].add_module("again", model[0][2])
    with pytest.raises(InputError) as caught:
        insert(model, parse_mixer("0010"), after="0.2", example=images())
    assert caught.value.field == "0.2"
    assert "also 0.again" in str(caught.value)


@pytest.mark.parametrize("places", [{}, {"after": "0", "before": "1"}])
def test_exactly_one_of_after_and_before_is_required(places):
    with pytest.raises(InputError) as caught:
        insert(network(), parse_mixer("0010"), **places, example=images())
    assert caught.value.field == "after, before"


def test_missing_example_and_missing_wrapper_raise():
    model = network()
    with pytest.raises(InputError) as caught:
        replace(model, parse_mixer("0010"), at="0.2")
    assert caught.value.field == "example"
    with pytest.raises(InputError) as caught:
        remove(model)
    assert caught.value.field == "at"
    surgery = insert(model, parse_mixer("0010"), after="0", example=images())
    remove(model)
    with pytest.raises(InputError) as caught:
        surgery.remove()
    assert caught.value.field == "0"


def test_models_on_meta_and_in_bfloat16_keep_device_dtype_and_mode():
    with torch.device("meta"):
        model = network()
        plain = count_multiply_adds(model, torch.empty(1, 3, 8, 8))
        insert(model, parse_mixer("0010"), after="0", example=torch.empty(1, 3, 8, 8))
        assert count_multiply_adds(model, torch.empty(1, 3, 8, 8)) > plain
    half = network().to(torch.bfloat16).train()
    insert(half, parse_mixer("0010"), after="0", example=images().to(torch.bfloat16))
    assert isinstance(half[0], InsertionWrapper)
    assert half[0].block.training
    assert {p.dtype for p in half.parameters()} == {torch.bfloat16}


@pytest.mark.slow
@pytest.mark.compile
def test_model_compiles_into_one_graph():
    torch.compiler.reset()
    model, x = network(), images()
    insert(model, parse_mixer("1111"), after="0", example=x)
    replace(model, DeformableConvSpec(), at="1.0")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_no_mixer_raises_and_nothing_changes():
    model = nn.Sequential(nn.Conv2d(3, 3, 1))
    for change in (partial(insert, after="0"), partial(replace, at="0")):
        with pytest.raises(SpecError) as caught:
            change(model, parse_mixer("w/o"), example=torch.zeros(1, 3, 4, 4))
        assert caught.value.field == "mixer"
    assert isinstance(model[0], nn.Conv2d)


@pytest.mark.filterwarnings("ignore")  # scripting is deprecated
def test_scripted_part_raises_only_as_a_place():
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()))
    model, x = nn.Sequential(network(), scripted, nn.Conv2d(16, 16, 1)).eval(), images()
    expected = model(x)
    surgery = insert(model, parse_mixer("0010"), after="2", example=x)
    assert torch.equal(model(x), expected)
    surgery.remove()
    for place in ("1", "1.0"):
        for change_at in (
            lambda place=place: insert(model, parse_mixer("0010"), after=place, example=x),
            lambda place=place: replace(model, DeformableConvSpec(), at=place, example=x),
        ):
            with pytest.raises(InputError) as caught:
                change_at()
            assert caught.value.field == place
    assert torch.equal(model(x), expected)


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, and warns of shapes
def test_fx_traces_each_mixer_as_one_call():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.body = nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3, padding=1)
            self.tokens = nn.Linear(8, 8)

        def forward(self, x):
            return self.tokens(self.body(self.stem(x)).flatten(2).transpose(1, 2))

    torch.manual_seed(0)
    net, x = Net().eval(), torch.randn(2, 3, 5, 6)
    insert(net, parse_mixer("0110", heads=2), after="stem", example=x)
    insert(net, parse_mixer("0110", heads=2), before="tokens", example=x)
    replace(net, parse_mixer("0010+deformable", heads=2), at="body", example=x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=0.1)
    for graph in (unchecked_trace(net), copy.deepcopy(unchecked_trace(net))):
        calls = [str(node.target) for node in graph.graph.nodes if node.op == "call_module"]
        assert {"stem.block.mixer", "tokens.block.mixer", "stem.original"} <= set(calls)
        torch.testing.assert_close(graph(x), net(x))
        torch.testing.assert_close(graph(x[:1, :, :4]), net(x[:1, :, :4]))
    with unchecked():
        features = create_feature_extractor(net, ["stem", "body"])
    assert {name: y.shape for name, y in features(x).items()} == {
        "stem": (2, 8, 5, 6), "body": (2, 8, 5, 6),
    }  # fmt: skip
    with unchecked():
        traced = torch.jit.trace(net, x)
    torch.testing.assert_close(traced(x), net(x))


def unchecked_trace(net):
    with unchecked():
        return torch.fx.symbolic_trace(net)


def test_unread_argument_raises_in_a_graph_too():
    class Part(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x, mask=None):
            return self.layer(x if mask is None else x * mask)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.part = Part()

        def forward(self, x, mask=None):
            return self.part(x, mask=mask)

    net, x = Net(), torch.randn(2, 5, 8)
    replace(net, parse_mixer("0110", heads=2), at="part", example=x)
    graph = unchecked_trace(net)
    torch.testing.assert_close(graph(x), net(x))
    with pytest.raises(InputError) as caught:
        graph(x, torch.ones(2, 5, 8))
    assert caught.value.field == "mask"


@pytest.mark.compile
def test_model_is_exported():
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval(), images()
    insert(model, parse_mixer("1111", heads=2), after="1", example=x)
    replace(model, parse_mixer("0110", heads=2), at="1.original", example=x)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
