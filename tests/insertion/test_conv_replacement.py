import pytest
import torch
from torch import nn

from quatrain.insertion import find, remove, replace
from quatrain.insertion.conv_replacement import fitted, stand_in, takes_over
from quatrain.nn.attended import AttendedSpec
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.regular_conv import RegularConvSpec
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
@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("settings", CONVOLUTIONS)
def test_a_convolution_computes_what_the_one_it_replaces_did(kind, mixer, settings):
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
def test_what_is_learnt_in_its_place_stays_when_it_comes_back(mixer):
    model, x = nn.Sequential(convolution()), torch.randn(2, 16, 7, 9)
    held = list(model.parameters())
    replace(model, mixer, at="0")
    assert all(any(p is q for q in model.parameters()) for p in held)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = held[0].clone(), held[1].clone()
    model(x).square().sum().backward()
    optimizer.step()
    remove(model)
    assert not torch.equal(model[0].weight, before[0])
    assert not torch.equal(model[0].bias, before[1])


def test_it_comes_back_with_the_weights_of_now_also_where_others_were_assigned():
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
def test_a_convolution_that_cannot_be_taken_over_is_refused_and_nothing_is_changed(other):
    model = nn.Sequential(convolution(), convolution(**other))
    with pytest.raises(SpecError, match=r"^1 is Conv2d.*that keeps its channels"):
        replace(model, DeformableConvSpec(), at="*")
    assert all(type(each) is nn.Conv2d for each in find(model, "*").values())


class Standardized(nn.Conv2d):
    def forward(self, x):
        return self._conv_forward(x, self.weight - self.weight.mean(), self.bias)


@pytest.mark.parametrize(
    "made",
    [
        nn.Conv2d(16, 8, 3, padding=1),
        Standardized(16, 16, 3, padding=1),
        nn.utils.parametrizations.weight_norm(nn.Conv2d(16, 16, 3, padding=1)),
    ],
)
def test_one_of_other_widths_or_with_a_computation_of_its_own_is_refused(made):
    with pytest.raises(SpecError, match="of torch's that keeps its channels"):
        fitted("0", made, RegularConvSpec())


def test_a_spec_that_says_otherwise_than_the_convolution_is_refused():
    with pytest.raises(SpecError, match=r"kernel is 5, expected 3, as layer.conv2 has it"):
        fitted("layer.conv2", convolution(), parse_mixer("w/o+deformable@5"))
    _, spec = fitted("0", convolution(kernel_size=5, padding=2), DeformableConvSpec(kernel=5))
    assert spec == DeformableConvSpec(kernel=5, bias=True)


def test_only_what_begins_with_a_convolution_takes_over_a_weight():
    assert takes_over(parse_mixer("0010+deformable"), convolution())
    assert not takes_over(parse_mixer("0010"), convolution())
    assert not takes_over(RegularConvSpec(), nn.Linear(16, 16))
    with pytest.raises(TypeError, match="Linear"):
        fitted("0", nn.Linear(16, 16), RegularConvSpec())


def test_the_very_weight_is_used():
    plain = convolution()
    width, spec = fitted("0", plain, AttendedSpec())
    stood = stand_in(plain, spec.build(16, ndim=width.ndim), width.layout)
    assert stood.block.convolution.weight is plain.weight
    assert stood.restored() is plain
