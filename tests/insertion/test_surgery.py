import copy
from functools import partial

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from laws import unchecked
from quatrain.cost import count_multiply_adds
from quatrain.insertion import InsertionWrapper, ReplacementWrapper, insert, remove, replace
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
    for take_back in (lambda change: change.remove(), lambda _: remove(model)):
        take_back(insert(model, parse_mixer("1111"), after="**", example=x))
        found = dict(model.named_modules())
        assert list(found) == list(modules)
        assert all(found[name] is module for name, module in modules.items())
        assert list(model.state_dict()) == keys
        assert torch.equal(model(x), expected)


def test_a_place_and_what_lies_in_it_each_get_a_mixer_that_is_called():
    model, x = network(), images()
    change = insert(model, parse_mixer("0010"), after="**", example=x)
    assert any(
        name.startswith(f"{outer}.") for name in change.wrappers for outer in change.wrappers
    )
    called = []
    for name, standing in change.wrappers.items():
        standing.block.register_forward_hook(lambda *_, name=name: called.append(name))
    model(x).sum().backward()
    assert sorted(called) == sorted(change.wrappers)
    assert all(each.block.gamma.grad is not None for each in change.wrappers.values())
    with pytest.raises(InputError, match=r"outside of 0, which is replaced too"):
        replace(network(), parse_mixer("0010"), at="**", example=x)


LAYOUTS = [
    (nn.Sequential(nn.Conv1d(3, 16, 3, padding=1)), (2, 3, 5), None, (0, 2, 1)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 5, 3), None, (0, 1, 2)),
    (nn.Sequential(nn.Linear(3, 16)), (5, 2, 3), "time_first", (1, 0, 2)),
    (nn.Sequential(nn.Conv2d(3, 16, 3, padding=1)), (2, 3, 4, 5), None, (0, 1, 2, 3)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 4, 5, 3), None, (0, 3, 1, 2)),
    (nn.Sequential(nn.Linear(3, 16)), (2, 4, 5, 3), "channels_last", (0, 3, 1, 2)),
]


@pytest.mark.parametrize(("model", "shape", "layout", "to_ours"), LAYOUTS)
@pytest.mark.parametrize("text", ["1111", "0011", "dynamic@3"])
def test_the_mixer_reads_each_layout_along_its_own_axes(model, shape, layout, to_ours, text):
    torch.manual_seed(0)
    model, x = copy.deepcopy(model).eval(), torch.randn(shape)
    plain = model(x)
    change = insert(model, parse_mixer(text), after="0", example=x, layout=layout)
    assert torch.equal(model(x), plain)
    block = change.wrappers["0"].block
    nn.init.constant_(block.gamma, 2.0)
    back = torch.tensor(to_ours).argsort().tolist()
    expected = plain + 2 * block.mixer(plain.permute(to_ours)).permute(back)
    torch.testing.assert_close(model(x), expected)
    assert not torch.allclose(model(x), plain)


def test_a_mixer_may_also_stand_in_for_what_has_another_layout():
    torch.manual_seed(0)
    model, x = nn.Sequential(nn.Linear(16, 16)), torch.randn(5, 2, 16)
    change = replace(model, parse_mixer("0110"), at="0", example=x, layout="time_first")
    expected = change.wrappers["0"].block(x.transpose(0, 1)).transpose(0, 1)
    torch.testing.assert_close(model(x), expected)


@pytest.mark.parametrize("layout", [None, "channels_last"])
def test_the_second_sequence_of_a_batch_changes_nothing_in_the_first(layout):
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(16, 2, 8, batch_first=True)
    model = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False).eval()
    x = torch.randn(2, 5, 16)
    change = insert(model, parse_mixer("0110"), after="layers.*.linear2", example=x, layout=layout)
    for each in change.wrappers.values():
        nn.init.ones_(each.block.gamma)
    changed = torch.cat((x[:1], x[1:] + 1))
    torch.testing.assert_close(model(x)[0], model(changed)[0])


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


def test_remove_undoes_replace_too_and_what_stood_within_or_around():
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


def test_a_wrapper_that_got_another_name_since_leaves_under_both():
    model, x = network(), images()
    place = model[0][2]
    insert(model, parse_mixer("0010"), after="0.2", example=x)
    model[0].add_module("again", model[0][2])
    remove(model)
    assert model[0][2] is place is model[0].again


def test_what_was_put_aside_with_a_mixer_in_it_comes_back_without():
    model, x = network(), images()
    place = model[0]
    insert(model, parse_mixer("0010"), after="0.0", example=x)
    replace(model, RegularConvSpec(), at="1.0")
    model[1] = nn.Sequential(model[1], nn.Sequential(nn.Conv2d(16, 16, 1)))
    insert(model, parse_mixer("0010"), after="1.1.0", example=x)
    replace(model, parse_mixer("0010"), at="1.1", example=x)
    remove(model)
    assert model[0] is place
    assert not [m for m in model.modules() if isinstance(m, InsertionWrapper | ReplacementWrapper)]


def test_other_mixers_replace_what_keeps_its_width():
    model, x = network(), images()
    change = replace(model, parse_mixer("0010"), at="0.2", example=x)
    assert change.wrappers["0.2"].block.channels == 16
    assert model(x).shape == (2, 16, 4, 5)
    with pytest.raises(InputError, match=r"0.0 is .3 channels in and 16 out"):
        replace(network(), parse_mixer("0010"), at="0.0", example=x)


@pytest.mark.parametrize("text", ["1111", "dynamic@3", "0010+deformable"])
def test_first_weights_depend_on_the_seed_and_the_place_alone(text):
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
    change = insert(model, parse_mixer(text), after="*", example=images(), seed=5)
    first, second = (each.block.state_dict() for each in change.wrappers.values())
    assert _differ(first, second)


def _differ(one, other):
    return any(not torch.equal(value, other[name]) for name, value in one.items())


@pytest.mark.parametrize("text", MIXERS)
def test_without_a_seed_one_is_drawn_from_torchs_random_state_whatever_is_inserted(text):
    model = network()
    torch.randint(2**62, ())
    expected = torch.rand(())
    model = network()
    insert(model, parse_mixer(text), after="**", example=images())
    assert torch.equal(torch.rand(()), expected)


def test_a_mixer_that_leaves_out_positions_is_refused_where_it_is_added():
    for model, change in ((network(), insert), (network(), replace)):
        place = {"after": "0.2"} if change is insert else {"at": "0.2"}
        with pytest.raises(SpecError, match="stride is 2"):
            change(model, RegularConvSpec(stride=2), **place, example=images())


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
    with pytest.raises(InputError, match="remove later changes first"):
        change.remove()


def test_it_serves_models_without_numbers_and_keeps_types_and_modes():
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


@pytest.mark.compile
def test_the_changed_model_compiles_into_one_graph():
    torch.compiler.reset()
    model, x = network(), images()
    insert(model, parse_mixer("1111"), after="0", example=x)
    replace(model, DeformableConvSpec(), at="1.0")
    compiled = torch.compile(model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), model(x))


def test_no_mixer_is_told_and_the_model_left_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 3, 1))
    for change in (partial(insert, after="0"), partial(replace, at="0")):
        with pytest.raises(SpecError, match=r"mixer is None.*w/o"):
            change(model, parse_mixer("w/o"), example=torch.zeros(1, 3, 4, 4))
    assert isinstance(model[0], nn.Conv2d)


@pytest.mark.filterwarnings("ignore")  # scripting is deprecated
def test_a_scripted_part_is_no_hindrance_elsewhere_and_is_refused_as_a_place():
    scripted = torch.jit.script(nn.Sequential(nn.Conv2d(16, 16, 3, padding=1), nn.ReLU()))
    model, x = nn.Sequential(network(), scripted, nn.Conv2d(16, 16, 1)).eval(), images()
    expected = model(x)
    change = insert(model, parse_mixer("0010"), after="2", example=x)
    assert torch.equal(model(x), expected)
    change.remove()
    for place in ("1", "1.0"):
        for change_at in (
            lambda place=place: insert(model, parse_mixer("0010"), after=place, example=x),
            lambda place=place: replace(model, DeformableConvSpec(), at=place, example=x),
        ):
            with pytest.raises(InputError, match=r"expected a place outside of scripted modules"):
                change_at()
    assert torch.equal(model(x), expected)


@pytest.mark.filterwarnings("ignore")  # torch.jit.trace is deprecated, and warns of shapes
@pytest.mark.parametrize("text", ["0110", "0010+deformable"])
def test_torch_fx_draws_a_changed_network_with_any_tracer_and_each_mixer_is_one_call(text):
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
    replace(net, parse_mixer(text, heads=2), at="body", example=x)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand_like(parameter), alpha=0.1)
    for drawn in (unchecked_trace(net), copy.deepcopy(unchecked_trace(net))):
        calls = [str(node.target) for node in drawn.graph.nodes if node.op == "call_module"]
        assert {"stem.block.mixer", "tokens.block.mixer", "stem.original"} <= set(calls)
        torch.testing.assert_close(drawn(x), net(x))
        torch.testing.assert_close(drawn(x[:1, :, :4]), net(x[:1, :, :4]))
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


def test_an_argument_that_is_not_read_is_refused_in_a_graph_too():
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
    drawn = unchecked_trace(net)
    torch.testing.assert_close(drawn(x), net(x))
    with pytest.raises(InputError, match=r"mask is .a Tensor"):
        drawn(x, torch.ones(2, 5, 8))


@pytest.mark.compile
def test_a_changed_network_is_exported():
    model, x = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU()).eval(), images()
    insert(model, parse_mixer("1111", heads=2), after="1", example=x)
    replace(model, parse_mixer("0110", heads=2), at="1.original", example=x)
    exported = torch.export.export(model, (x,)).module()
    torch.testing.assert_close(exported(x), model(x))
