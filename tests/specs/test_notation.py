import pytest

from quatrain.nn.mixers import parse_mixer
from quatrain.specs.notation import (
    ADDED_FIELDS,
    differences,
    mixer_text,
    mixers_in,
    other_differences,
)
from quatrain.tasks.translation import TranslationSpec

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
    "deformable-attention",
    "dcnv3",
    "dcnv4@5",
    "0010+deformable",
    "1111@7+modulated",
    "1011 rope",
    "1111@5 rope-mixed qknorm gate null",
    "0010 gate+deformable",
    "1011 rope t5 gate",
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


def changed(steps=100, terms="0110", width=8):
    mixer = {"kind": "attention", "terms": terms}
    return {"model": {"mixer": mixer, "width": width}, "recipe": {"steps": steps}}


def test_specs_that_differ_in_their_mixer_differ_in_one_factor():
    assert other_differences(changed(), changed(terms="1111")) == ()
    without = changed()
    without["model"]["mixer"] = None
    assert other_differences(changed(), without) == ()


def test_other_differences_are_named():
    assert other_differences(changed(), changed(200, "1111", 16)) == ("model.width", "recipe.steps")


def test_specs_with_equal_mixers_may_differ_in_one_field():
    assert other_differences(changed(), changed(200)) == ()
    assert other_differences(changed(), changed(200, width=16)) == ("model.width", "recipe.steps")


def test_specs_that_lack_fields_of_newer_versions_are_equal_to_newer_ones():
    newer = TranslationSpec().model_dump(mode="json")

    def older(value):
        if not isinstance(value, dict):
            return value
        return {
            name: older(item)
            for name, item in value.items()
            if name not in ADDED_FIELDS or (name, item) == ("terms", "1111")
        }

    assert older(newer) != newer
    assert TranslationSpec(**older(newer)) == TranslationSpec()
    assert differences(older(newer), newer) == ((), ())
    gated = parse_mixer("1111 gate").model_dump(mode="json")
    assert differences({"mixer": older(gated)}, {"mixer": gated}) == (("mixer",), ())


def test_a_kind_that_is_no_text_is_no_mixer():
    assert mixers_in({"kind": ["attention"], "part": {"kind": 3}}) == {}
