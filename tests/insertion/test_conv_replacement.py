import pytest
import torch
from torch import nn

from quatrain.insertion import find, remove, replace
from quatrain.insertion.conv_replacement import converted_spec, converts, replace_convolution
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.convolution import RegularConvSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import SpecError

MIXERS = [RegularConvSpec(), DeformableConvSpec(), AttendedSpec()]
CONVOLUTIONS = [
    {},
    {"bias": False},
    {"stride": 2, "padding": 2, "dilation": 2, "groups": 2},
    {"groups": 16, "padding": "same", "dilation": 3},
    {"kernel_size": 5, "padding": 2, "bias": False},
]


def convolution(kind=nn.Conv2d, **settings):
    torch.manual_seed(0)
    return kind(16, 16, **{"kernel_size": 3, "padding": 1} | settings)


@pytest.mark.parametrize("kind", [nn.Conv1d, nn.Conv2d])
@pytest.mark.parametrize(
    ("mixer", "settings"),
    [
        *((MIXERS[1], settings) for settings in CONVOLUTIONS),
        (MIXERS[0], CONVOLUTIONS[2]),
        (MIXERS[2], CONVOLUTIONS[4]),
    ],
)
def test_replacement_has_the_outputs_of_the_convolution(kind, mixer, settings):
    if kind is nn.Conv1d and isinstance(mixer, AttendedSpec):
        mixer = mixer.model_copy(update={"gated": True})
    model = nn.Sequential(convolution(kind, **settings)).eval()
    x = torch.randn(2, 16, 9) if kind is nn.Conv1d else torch.randn(2, 16, 7, 9)
    expected, plain = model(x), model[0]
    replace(model, mixer, at="0")
    torch.testing.assert_close(model(x), expected)
    remove(model)
    assert model[0] is plain
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize("mixer", MIXERS)
def test_learned_weights_return_with_the_convolution(mixer):
    model, x = nn.Sequential(convolution()), torch.randn(2, 16, 7, 9)
    parameters = list(model.parameters())
    replace(model, mixer, at="0")
    assert all(any(p is q for q in model.parameters()) for p in parameters)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = parameters[0].clone(), parameters[1].clone()
    model(x).square().sum().backward()
    optimizer.step()
    remove(model)
    assert not torch.equal(model[0].weight, before[0])
    assert not torch.equal(model[0].bias, before[1])


def test_convolution_returns_with_assigned_weights_dtype_and_mode():
    model = nn.Sequential(convolution())
    plain = {name: value + 1 for name, value in model.state_dict().items()}
    replace(model, DeformableConvSpec(), at="0")
    model.load_state_dict(plain, assign=True)
    model.double().eval()
    remove(model)
    assert not model[0].training
    torch.testing.assert_close(
        model.state_dict(), {name: value.double() for name, value in plain.items()}
    )


@pytest.mark.parametrize(
    "other",
    [
        {"kernel_size": (3, 1), "padding": (1, 0)},
        {"kernel_size": 2, "padding": 0},
        {"stride": (1, 2)},
        {"padding": 0},
        {"padding_mode": "circular"},
    ],
)
def test_other_convolutions_raise_and_nothing_changes(other):
    model = nn.Sequential(convolution(), convolution(**other))
    with pytest.raises(SpecError) as caught:
        replace(model, DeformableConvSpec(), at="*")
    assert caught.value.field == "1"
    assert all(type(each) is nn.Conv2d for each in find(model, "*").values())


class Standardized(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


@pytest.mark.parametrize(
    "module",
    [
        nn.Conv2d(16, 8, 3, padding=1),
        Standardized(16, 16, 3, padding=1),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
    ],
)
def test_convolution_of_other_channels_or_forward_raises(module):
    with pytest.raises(SpecError) as caught:
        converted_spec("0", module, RegularConvSpec())
    assert caught.value.field == "0"


def test_spec_that_contradicts_the_convolution_raises():
    with pytest.raises(SpecError) as caught:
        converted_spec("layer.conv2", convolution(), parse_mixer("w/o+deformable@5"))
    assert caught.value.field == "kernel"
    assert "kernel=5" in str(caught.value)
    _, spec = converted_spec(
        "0", convolution(kernel_size=5, padding=2), DeformableConvSpec(kernel=5)
    )
    assert spec == DeformableConvSpec(kernel=5, bias=True)


def test_only_mixers_with_a_convolution_convert_convolutions():
    assert converts(parse_mixer("0010+deformable"), convolution())
    assert not converts(parse_mixer("0010"), convolution())
    assert not converts(RegularConvSpec(), nn.Linear(16, 16))
    with pytest.raises(TypeError):
        converted_spec("0", nn.Linear(16, 16), RegularConvSpec())


def test_weight_is_shared():
    plain = convolution()
    shape, spec = converted_spec("0", plain, AttendedSpec())
    wrapper = replace_convolution(plain, spec.build(16, ndim=shape.ndim), shape)
    assert wrapper.block.convolution.weight is plain.weight
    assert wrapper.unwrap() is plain
