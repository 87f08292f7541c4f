import pytest

from quatrain.nn.mixers import parse_mixer
from quatrain.specs.notation import mixer_text, mixers_in

TEXTS = [
    "w/o",
    "0000",
    "0110",
    "0100@31",
    "regular",
    "regular@5",
    "deformable",
    "modulated@5",
    "dynamic@7",
    "lightweight",
    "0010+deformable",
    "1111@7+modulated",
]


@pytest.mark.parametrize("text", TEXTS)
def test_the_notation_is_the_inverse_of_the_parser(text):
    mixer = parse_mixer(text)
    assert mixer_text(None if mixer is None else mixer.model_dump(mode="json")) == text


def test_mixers_are_found_by_their_path():
    attended = parse_mixer("0010+deformable").model_dump(mode="json")
    spec = {"kind": "detection", "model": {"backbone": {"mixer": attended}}, "heads": [1, 2]}
    assert mixers_in(spec) == {"model.backbone.mixer": attended}
    assert mixers_in({"model": {"backbone": {"mixer": None}}}) == {}
