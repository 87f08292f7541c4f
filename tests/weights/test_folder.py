import json
import sys
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save_file

import quatrain
from quatrain.models.detector import DetectorSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec
from quatrain.models.translator import TranslatorSpec
from quatrain.nn import AttentionSpec, GeneralizedAttention
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError, StoredFileError, StudyError
from quatrain.weights.folder import without_initial_weights

MIXERS = ("1111@3", "0010", "0000", "regular", "deformable", "modulated", "dynamic", "lightweight")
MIXERS += ("deformable-attention", "dcnv3", "dcnv4")
BODY = ResNetSpec(
    depth=18,
    width=8,
    norm="group",
    mixer=parse_mixer("0110+deformable", heads=2),
    inserted_stages=(5,),
    replaced_stages=(5,),
    frozen_stages=2,
)
MODELS = {
    "detector": lambda: DetectorSpec(backbone=BODY, channels=16, head_channels=16).build(3),
    "segmenter": lambda: SegmenterSpec(backbone=BODY, channels=16, norm="group").build(4),
    "translator": lambda: TranslatorSpec(width=16, layers=1, feed_forward=16).build(30),
}


def attention(**options):
    return AttentionSpec(terms="1111", heads=2).build(8, **options)


def equal(one, other):
    """Whether two modules have equal tensors, in value and type."""
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) and first[name].dtype == second[name].dtype
        for name in first
    )


def restored(module, folder):
    module.save_pretrained(folder)
    return type(module).from_pretrained(folder)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("name", [*MIXERS, "0010+deformable"])
def test_a_mixer_is_restored_with_its_spec(tmp_path, name, ndim):
    module = parse_mixer(name, heads=2).build(16, ndim)
    other = restored(module, tmp_path)
    assert (other.spec, other.channels, other.ndim) == (module.spec, 16, ndim)
    assert equal(module, other)
    assert not other.training
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "model.json",
        "model.safetensors",
    ]


@pytest.mark.parametrize("create", MODELS.values(), ids=MODELS)
def test_a_model_is_restored_with_its_spec_and_frozen_parts(tmp_path, create):
    torch.manual_seed(1)
    module = create()
    before = torch.get_rng_state()
    other = restored(module, tmp_path)
    assert torch.equal(torch.get_rng_state(), before)
    assert other.spec == module.spec
    assert equal(module, other)
    assert not other.training
    assert [each.requires_grad for each in other.parameters()] == [
        each.requires_grad for each in module.parameters()
    ]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_the_type_of_the_weights_is_restored(tmp_path, dtype):
    module = attention(ndim=1, key_channels=6, dtype=dtype)
    other = restored(module, tmp_path)
    assert other.key_channels == 6
    assert equal(module, other)


def test_a_file_and_its_sidecar_may_have_any_name(tmp_path):
    module = attention()
    module.save_pretrained(tmp_path / "new" / "mine.safetensors", notes={"source": "here"})
    assert (tmp_path / "new" / "mine.json").exists()
    assert equal(module, GeneralizedAttention.from_pretrained(tmp_path / "new/mine.safetensors"))
    text = json.loads((tmp_path / "new" / "mine.json").read_text())
    assert text["notes"] == {"source": "here"}
    assert text["versions"]["torch"] == torch.__version__
    assert text["spec"]["terms"] == "1111"


def test_other_programs_can_read_and_write_the_tensors(tmp_path):
    module = attention()
    module.save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state, tmp_path / "model.safetensors")
    assert equal(module, GeneralizedAttention.from_pretrained(tmp_path))


def test_a_repository_of_the_hub_is_downloaded(tmp_path, monkeypatch):
    module, hub = attention(), ModuleType("huggingface_hub")
    module.save_pretrained(tmp_path)
    hub.hf_hub_download = lambda _, name, revision: str(tmp_path / revision / ".." / name)
    (tmp_path / "v1").mkdir()
    monkeypatch.setitem(sys.modules, "huggingface_hub", hub)
    assert equal(module, GeneralizedAttention.from_pretrained("owner/name", revision="v1"))


def edit(folder, **fields):
    """Change fields of the sidecar."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(folder, owner=GeneralizedAttention):
    """The message of the error of loading a folder."""
    with pytest.raises(StoredFileError) as error:
        owner.from_pretrained(folder)
    assert "\n" not in str(error.value)
    return str(error.value)


def test_tensors_that_do_not_fit_the_spec_are_listed(tmp_path):
    attention().save_pretrained(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    del state["key.weight"]
    save_file({**state, "more": torch.ones(1), "value.weight": torch.ones(2)}, tmp_path / "b")
    (tmp_path / "b").rename(tmp_path / "model.safetensors")
    text = refused(tmp_path)
    assert "key.weight is missing" in text
    assert "more is not in this model" in text
    assert "value.weight has shape (2,) in the file and (8, 8) in this model" in text


def test_a_sidecar_of_another_model_is_refused(tmp_path):
    attention().save_pretrained(tmp_path)
    spec = json.loads((tmp_path / "model.json").read_text())["spec"]
    edit(tmp_path, spec=spec | {"window": 3})  # which changes the outputs and no shape
    assert "different models" in refused(tmp_path)


def test_a_truncated_or_changed_file_is_refused(tmp_path):
    attention().save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for content in (b"", whole[:7], whole[:200], whole[:-1], whole[:-1] + b"\xff"):
        path.write_bytes(content)
        assert "not an undamaged file" in refused(tmp_path)
    path.write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    assert "not an undamaged file" in refused(tmp_path)


SIDECARS = {
    "empty": "",
    "no JSON": "{",
    "a list": "[1]",
    "no fields": "{}",
    "deep": "[" * 10_000,
}


@pytest.mark.parametrize("text", SIDECARS.values(), ids=SIDECARS)
def test_an_invalid_sidecar_is_refused(tmp_path, text):
    attention().save_pretrained(tmp_path)
    (tmp_path / "model.json").write_text(text)
    assert "does not describe a model" in refused(tmp_path)


FIELDS = {
    "huge": ({"arguments": {"channels": 10**15, "ndim": 2}}, "different models"),
    "text": ({"arguments": {"channels": "8"}}, "does not describe a model"),
    "class": ({"module": "ResNet"}, "contains a ResNet, not a GeneralizedAttention"),
    "spec": ({"spec_name": "ResNetSpec"}, "has a ResNetSpec, and a AttentionSpec"),
    "format": ({"format": 2}, "newer version"),
}


@pytest.mark.parametrize(("fields", "message"), FIELDS.values(), ids=FIELDS)
def test_invalid_fields_are_refused(tmp_path, fields, message):
    attention().save_pretrained(tmp_path)
    edit(tmp_path, **fields)
    assert message in refused(tmp_path)


ARGUMENTS = {
    "huge": {"channels": 2**40, "ndim": 2},
    "unknown": {"channels": 8, "more": 1},
    "missing": {},
    "invalid": {"channels": -4, "ndim": 9},
}


@pytest.mark.parametrize("arguments", ARGUMENTS.values(), ids=ARGUMENTS)
def test_arguments_are_checked_before_memory_is_allocated(tmp_path, arguments):
    module = attention()
    module.save_pretrained(tmp_path)
    save_file(module.state_dict(), tmp_path / "model.safetensors")  # without the digest
    edit(tmp_path, arguments=arguments)
    assert refused(tmp_path)


def test_layers_are_counted_before_they_are_built(tmp_path):
    model = TranslatorSpec(width=16, layers=1, feed_forward=16).build(30)
    model.save_pretrained(tmp_path)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    document = json.loads((tmp_path / "model.json").read_text())
    document["spec"]["layers"] = 10**9
    (tmp_path / "model.json").write_text(json.dumps(document))
    with pytest.raises(StoredFileError, match=r"describes no model \(it has more than"):
        type(model).from_pretrained(tmp_path)


def test_a_spec_that_cannot_be_read_names_the_version_that_wrote_it(tmp_path):
    module = attention()
    module.save_pretrained(tmp_path)
    save_file(module.state_dict(), tmp_path / "model.safetensors")
    edit(tmp_path, spec={"terms": "1111", "heads": 2, "newer": 1}, versions={"quatrain": "9.9"})
    text = refused(tmp_path)
    assert "no field 'newer'" in text
    assert "quatrain 9.9 wrote it" in text


def test_another_revision_of_the_spec_is_a_warning(tmp_path):
    module = attention()
    module.save_pretrained(tmp_path)
    edit(tmp_path, revision=0)
    with pytest.warns(UserWarning, match="revision 0 of AttentionSpec"):
        assert equal(module, GeneralizedAttention.from_pretrained(tmp_path))


def test_missing_files_are_named(tmp_path):
    assert "model.json is missing" in refused(tmp_path / "none")
    attention().save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    assert "model.safetensors" in refused(tmp_path)


def test_a_module_that_its_spec_does_not_build_is_not_saved(tmp_path):
    body = ResNetSpec(depth=18, width=8).build()
    example = torch.zeros(1, 3, 32, 32)
    quatrain.insert(body.body, parse_mixer("0010", heads=2), after="layer1.0", example=example)
    with pytest.raises(InputError, match=r"block\.gamma is not in this model.*state_dict"):
        body.save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    quatrain.remove(body.body)
    assert equal(restored(body, tmp_path), body)


@pytest.mark.parametrize("name", ["model.pth", "model.pt", "model.json"])
def test_a_path_of_another_kind_of_file_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"use model\.safetensors"):
        attention().save_pretrained(tmp_path / name)
    with pytest.raises(InputError, match=r"use model\.safetensors"):
        GeneralizedAttention.from_pretrained(tmp_path / name)
    attention().save_pretrained(tmp_path / "v1.0")
    assert (tmp_path / "v1.0" / "model.json").exists()


def test_a_folder_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError):
        attention().save_pretrained(tmp_path / "file")


def test_initial_weights_are_not_loaded_for_a_restored_model(tmp_path):
    digest = "ab" * 32
    spec = DetectorSpec(backbone=ResNetSpec(depth=18, weights=digest, weights_file="missing.pth"))
    plain = without_initial_weights(spec)
    assert (plain.backbone.weights, plain.backbone.weights_file) == (None, None)
    assert spec.backbone.weights == digest
    assert without_initial_weights(plain.backbone) == ResNetSpec(depth=18)
    body = ResNetSpec(depth=18).build()
    body.spec = spec.backbone
    assert restored(body, tmp_path).spec == ResNetSpec(depth=18)
