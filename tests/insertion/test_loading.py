import copy

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from quatrain.insertion import insert, remove, replace
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import parse_mixer

PARAMETERLESS = [nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(2), nn.Upsample(scale_factor=2)]


def images():
    return torch.randn(2, 3, 6, 8, generator=torch.Generator().manual_seed(1))


def network(*parts):
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), *parts).eval()


def incremented(state):
    return {name: value + 1 for name, value in state.items()}


def assert_loads(model, state):
    """Load the weights, and check that the mixers keep their own."""
    current = copy.deepcopy(model.state_dict())
    assert str(model.load_state_dict(state)) == "<All keys matched successfully>"
    for name, value in model.state_dict().items():
        if ".block." in name:
            assert torch.equal(value, current[name])


@pytest.mark.parametrize("place", PARAMETERLESS, ids=lambda each: type(each).__name__)
@pytest.mark.parametrize("side", ["before", "after"])
def test_weights_load_at_places_without_parameters(place, side):
    model = network(copy.deepcopy(place))
    plain, x = incremented(model.state_dict()), images()
    insert(model, parse_mixer("0110", heads=2), **{side: "1"}, example=x, layout="channels_first")
    assert_loads(model, plain)
    assert torch.equal(model[0].weight, plain["0.weight"])
    current = incremented(model.state_dict())
    model.load_state_dict(current)
    assert_close(model.state_dict(), current, rtol=0, atol=0)
    del current["1.block.mixer.value.weight"]
    with pytest.raises(RuntimeError, match=r"Missing.*1\.block\.mixer\.value\.weight"):
        model.load_state_dict(current)


@pytest.mark.parametrize(
    ("text", "bias", "strict"),
    [
        ("deformable", True, True),
        ("0010+deformable", False, True),
        ("1111+regular", True, False),
        ("0010+modulated", False, False),
    ],
)
def test_replacing_convolution_uses_the_loaded_kernel(text, bias, strict):
    model = network(nn.Conv2d(8, 8, 3, padding=1, bias=bias))
    plain = incremented(model.state_dict())
    reference = copy.deepcopy(model)
    reference.load_state_dict(plain)
    expected = reference(images())
    replace(model, parse_mixer(text, heads=2), at="1")
    keys = model.load_state_dict(plain, strict=strict)
    assert not keys.missing_keys
    assert not keys.unexpected_keys
    assert torch.equal(model[1].weight, plain["1.weight"])
    if "modulated" not in text:
        assert_close(model(images()), expected)
    remove(model)
    assert_close(model.state_dict(), plain, rtol=0, atol=0)


STAGES = [
    lambda model: insert(model, parse_mixer("0110", heads=2), after="1", example=images().double()),
    lambda model: replace(model, parse_mixer("0010+deformable", heads=2), at="1"),
    lambda model: insert(
        model, parse_mixer("0010", heads=2), before="1", example=images().double()
    ),
    lambda model: replace(model, parse_mixer("1111", heads=2), at="1", example=images().double()),
]


ORDERS = [(0, 2), (2, 0, 0), (1, 0), (1, 0, 2), (0, 3), (1, 0, 3, 2), (3, 0)]


@pytest.mark.parametrize("order", ORDERS)
def test_weights_load_from_every_stage_of_several_surgeries(order):
    model = network(nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)).double()
    stages, x = [copy.deepcopy(model)], images().double()
    for stage in order:
        STAGES[stage](model)
        stages.append(copy.deepcopy(model))
    for count, earlier in enumerate(stages):
        state = incremented(earlier.state_dict())
        loaded = copy.deepcopy(model)
        assert not loaded.load_state_dict(state).missing_keys
        earlier.load_state_dict(state)
        if 3 not in order[count:]:  # later mixers do not change the outputs initially
            assert_close(loaded(x), earlier(x))
        for changed in (loaded, *([earlier] if count else [])):
            remove(changed)
        assert torch.equal(loaded[1].weight, earlier[1].weight)


def test_weights_of_one_insertion_load_into_the_inner_of_two():
    model = network(nn.ReLU())
    insert(model, parse_mixer("0110", heads=2), after="1", example=images())
    one = incremented(model.state_dict())
    insert(model, parse_mixer("0110", heads=2), after="1", example=images())
    outer = copy.deepcopy(model[1].block.state_dict())
    model.load_state_dict(one)
    inner = {name: one[f"1.block.{name}"] for name in outer}
    assert_close(dict(model[1].original.block.state_dict()), inner, rtol=0, atol=0)
    assert_close(model[1].block.state_dict(), outer, rtol=0, atol=0)


def test_weights_of_a_replaced_module_load_into_it_and_errors_are_reported():
    model = network(nn.Conv2d(8, 8, 1), nn.ReLU())
    plain = incremented(model.state_dict())
    replace(model, parse_mixer("0110", heads=2), at="1", example=images())
    assert_loads(model, plain)
    with pytest.raises(RuntimeError, match=r"Missing.*1\.bias"):
        model.load_state_dict({name: plain[name] for name in plain if name != "1.bias"})
    with pytest.raises(RuntimeError, match="size mismatch"):
        model.load_state_dict(plain | {"1.weight": torch.zeros(4, 8, 1, 1)})
    remove(model)
    assert_close(model.state_dict(), plain, rtol=0, atol=0)


def test_weights_of_other_parts_leave_a_wrapper_unchanged():
    model = network(nn.Conv2d(8, 8, 1))
    head = {name: value for name, value in model.state_dict().items() if name.startswith("0")}
    insert(model, parse_mixer("0110", heads=2), after="1", example=images())
    current = copy.deepcopy(model[1].state_dict())
    keys = model.load_state_dict(head, strict=False)
    assert {f"1.{name}" for name in current} == set(keys.missing_keys)
    assert_close(model[1].state_dict(), current, rtol=0, atol=0)


def test_tied_weights_stay_tied():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.head = nn.Embedding(9, 8), nn.Linear(8, 9, bias=False)
            self.head.weight = self.tokens.weight

        def forward(self, ids):
            return self.head(self.tokens(ids))

    model, ids = Tied(), torch.arange(6).view(2, 3)
    plain = incremented(model.state_dict())
    insert(model, parse_mixer("0110", heads=2), after="tokens", example=ids)
    assert_loads(model, plain)
    assert model.head.weight is model.tokens.weight
    assert torch.equal(model.head.weight, plain["head.weight"])


def test_wrapped_module_may_rename_its_weights():
    class Renames(nn.Linear):
        def __init__(self):
            super().__init__(8, 8)
            self.register_state_dict_post_hook(self.write)
            self.register_load_state_dict_pre_hook(self.read)

        @staticmethod
        def write(_module, state, prefix, _metadata):
            state[f"{prefix}kernel"] = state.pop(f"{prefix}weight")

        @staticmethod
        def read(_module, state, prefix, *_):
            state[f"{prefix}weight"] = state.pop(f"{prefix}kernel")

    model = nn.Sequential(Renames())
    plain = incremented(model.state_dict())
    assert list(plain) == ["0.bias", "0.kernel"]
    insert(
        model,
        parse_mixer("0110", heads=2),
        after="0",
        example=torch.randn(2, 3, 8),
        layout="channels_last",
    )
    assert_loads(model, plain)
    assert torch.equal(model[0].weight, plain["0.kernel"])
    current = incremented(model.state_dict())
    model.load_state_dict(current)
    assert torch.equal(model[0].weight, current["0.original.kernel"])


def test_weights_can_be_assigned():
    with torch.device("meta"):
        model = network(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
        insert(model, parse_mixer("0110", heads=2), after="1", example=torch.empty(2, 3, 6, 8))
        replace(model, parse_mixer("0010+regular", heads=2), at="2")
    real = network(nn.ReLU(), nn.Conv2d(8, 8, 3, padding=1))
    model.load_state_dict(real.state_dict(), assign=True)
    assert torch.equal(model[2].weight, real[2].weight)
    assert isinstance(model[1].block, GatedResidual)
