import pytest
import torch
from torch import nn

from quatrain import parse_mixer
from quatrain.ablation.spec import AblationSpec, Functions, Place
from quatrain.specs import InputError, SpecError, StudyError, identity


def spec(**changes):
    place = Place(placement="before", pattern="1")
    return AblationSpec(**{"mixer": parse_mixer("0110"), "place": place, "code": "0"} | changes)


@pytest.mark.parametrize(
    "change",
    [
        {"mixer": None},
        {"code": "1"},
        {"settings": {"epochs": 3}},
        {"place": Place(placement="after", pattern="1")},
        {"place": Place(placement="before", pattern="1", layout="channels_last")},
    ],
)
def test_mixer_place_settings_and_code_are_in_the_identity(change):
    assert identity(spec(), 0) != identity(spec(**change), 0)


def test_functions_are_not_in_the_identity_and_survive_a_copy():
    functions = Functions(nn.Identity, print, print, torch.ones(1), "accuracy")
    with_functions = spec().with_functions(functions)
    assert identity(with_functions, 0) == identity(spec(), 0)
    assert with_functions.model_copy().open(None, None, 0).functions is functions


def test_a_spec_from_a_file_has_the_identity_but_no_functions():
    stored = spec(settings={"sizes": (1, 2), "name": "é"})
    read = AblationSpec.from_json(stored.to_json())
    assert identity(read, 5) == identity(stored, 5)
    with pytest.raises(StudyError):
        read.open(None, None, 0)


def test_settings_without_a_form_in_json_are_refused():
    with pytest.raises(SpecError):
        spec(settings={"loss": nn.Identity()})


@pytest.mark.parametrize("placement", ["before", "after", "at"])
def test_a_place_puts_mixers_into_a_network(placement):
    network = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1))
    mixer = parse_mixer("deformable")
    surgery = Place(placement=placement, pattern="1").put(mixer, network, torch.ones(1, 4, 5, 6), 0)
    assert list(surgery.wrappers) == ["1"]
    assert {getattr(each, "placement", "at") for each in surgery.wrappers.values()} == {placement}


def test_ignored_arguments_are_those_of_a_replaced_module():
    class Attention(nn.Module):
        def forward(self, x, position_bias=None):
            return x, position_bias

    class Layer(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = Attention()

        def forward(self, x):
            return self.attention(x, position_bias=torch.ones(1))[0]

    place = Place(placement="at", pattern="attention", layout="channels_last")
    mixer, x = parse_mixer("0110", heads=2), torch.ones(1, 5, 4)
    with pytest.raises(InputError, match="position_bias"):
        place.put(mixer, Layer(), x, 0)
    ignoring = Place(**dict(place) | {"ignore": ["position_bias"]})
    assert list(ignoring.put(mixer, Layer(), x, 0).wrappers) == ["attention"]
    assert identity(spec(place=ignoring), 0) != identity(spec(place=place), 0)
    with pytest.raises(SpecError, match="no effect before"):
        Place(placement="before", pattern="attention", ignore=["position_bias"])
