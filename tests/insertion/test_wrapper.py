import copy

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from laws import unchecked
from quatrain.insertion import Inserted, insert, remove, replace
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.residual import GatedResidual
from quatrain.specs import InputError


class Place(nn.Linear):
    def __init__(self, block=False):
        super().__init__(4, 4)
        self.activation = torch.relu
        self.child = nn.Identity()
        if block:
            self.block = nn.Linear(4, 4)

    def features(self, x):
        return self(x)


def inserted(**settings):
    torch.manual_seed(0)
    mixer = parse_mixer("0010", heads=2).build(4, ndim=1)
    return Inserted(Place(**settings), GatedResidual(mixer), "after", "channels-last")


def test_settings_weights_and_parts_of_the_place_are_found_and_its_methods_are_not():
    standing = inserted()
    place = standing.original
    assert standing.weight is place.weight
    assert (standing.in_features, standing.child) == (4, place.child)
    assert standing.activation is torch.relu
    for missing in ("features", "nothing", "__len__"):
        assert not hasattr(standing, missing)
    with pytest.raises(AttributeError, match="'Inserted' object has no attribute 'features'"):
        standing.features(torch.ones(2, 3, 4))
    with pytest.raises(AttributeError, match="weight"):
        Inserted.__new__(Inserted).weight  # noqa: B018 - before it is initialised


def test_settings_of_the_place_are_set_there_and_deleted_there():
    standing = inserted()
    place = standing.original
    weight = nn.Parameter(torch.zeros(4, 4))
    standing.in_features, standing.weight, standing.activation = 5, weight, torch.sigmoid
    standing.child, standing.note = nn.ReLU(), "new"
    assert (place.in_features, place.weight, place.activation) == (5, weight, torch.sigmoid)
    assert isinstance(place.child, nn.ReLU)
    assert (standing.note, place.note) == ("new", "new")
    del standing.note, standing.activation
    assert not hasattr(place, "note")
    assert not hasattr(standing, "activation")
    standing.eval()
    standing.block = block = nn.Identity()
    assert (standing.training, place.training, standing.block) == (False, False, block)
    assert not hasattr(place, "block")
    assert {"in_features", "weight", "child", "block", "side"} <= set(dir(standing))
    assert not {"features", "nothing"} & set(dir(standing))


CONTAINERS = [
    lambda: nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU()),
    lambda: Listed([nn.Conv2d(3, 4, 1), nn.ReLU()]),
    lambda: Keyed({"a": nn.Conv2d(3, 4, 1), "b": nn.ReLU()}),
]


class Listed(nn.ModuleList):
    def forward(self, x):
        for each in self:
            x = each(x)
        return x


class Keyed(nn.ModuleDict):
    def forward(self, x):
        for each in self.values():
            x = each(x)
        return x


@pytest.mark.parametrize("made", CONTAINERS)
@pytest.mark.parametrize("times", [1, 2])
def test_a_container_is_indexed_iterated_and_changed_through_its_wrapper(made, times):
    model, x = nn.Sequential(made()), torch.randn(2, 3, 5, 6)
    for _ in range(times):
        insert(model, parse_mixer("0010", heads=2), after="0", example=x)
    plain, standing = made(), model[0]
    keys = list(plain.keys()) if isinstance(plain, Keyed) else list(range(len(plain)))
    assert [type(standing[key]) for key in keys] == [type(plain[key]) for key in keys]
    assert len(standing) == 2
    assert [type(each) for each in standing] == [type(each) for each in plain]
    assert (keys[0] in standing) is (keys[0] in plain)
    standing[keys[1]] = added = nn.Sigmoid()
    assert standing[keys[1]] is added
    before = model(x)
    assert bool((before >= 0).all())
    if isinstance(plain, Keyed):
        standing.update({"c": nn.ReLU()})
        assert list(standing.keys()) == ["a", "b", "c"]
        del standing["c"]
        assert [type(each) for each in standing.values()] == [nn.Conv2d, nn.Sigmoid]
    else:
        assert standing.append(nn.ReLU()) is standing or times == 2
        assert len(standing) == 3
        assert isinstance(standing[-1], nn.ReLU)
        assert len(standing[:2]) == 2
        del standing[-1]
    torch.testing.assert_close(model(x), before)
    assert type(copy.deepcopy(standing)[keys[0]]) is nn.Conv2d
    remove(model)
    assert type(model[0]) is type(plain)


def test_what_is_no_container_is_none_behind_its_wrapper():
    standing = inserted()
    assert bool(standing)
    for use in (len, iter, lambda each: each[0], lambda each: 0 in each):
        with pytest.raises(TypeError):
            use(standing)


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


def images():
    return torch.randn(2, 3, 5, 6, generator=torch.Generator().manual_seed(1))
