import json

import pytest
import torch
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.models.resnet import ResNet, ResNetSpec
from quatrain.specs import DataError, SpecError


def run(*arguments):
    return CliRunner().invoke(app, ["convert", *map(str, arguments)])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A file with the backbone of a detector without attention, by mmdetection's names."""
    path = tmp_path_factory.mktemp("convert") / "a.pth"
    body = ResNetSpec(depth=18, width=8).build().body
    state = {f"backbone.{name}": value for name, value in body.state_dict().items()}
    torch.save({"state_dict": state, "meta": {"CLASSES": ("cat", "dog")}}, path)
    return path


def test_a_backbone_is_converted_and_loads(checkpoint, tmp_path):
    target = tmp_path / "new" / "r18.safetensors"
    result = run(checkpoint, target, "--backbone")
    assert result.exit_code == 0, result.output
    assert "ResNet, " in result.output
    assert "ResNet.from_pretrained(" in result.output
    state = torch.load(checkpoint, weights_only=True)["state_dict"]
    loaded = ResNet.from_pretrained(target).body
    assert torch.equal(loaded.conv1.weight, state["backbone.conv1.weight"])
    notes = json.loads(target.with_suffix(".json").read_text())["notes"]
    assert notes == {"source": "a.pth", "class_names": ["cat", "dog"]}


def test_json_has_the_spec_and_the_notes(checkpoint, tmp_path):
    result = run(checkpoint, tmp_path, "--backbone", "--json")
    content = json.loads(result.stdout)
    assert (content["module"], content["spec"]["depth"]) == ("ResNet", 18)
    assert (tmp_path / "model.safetensors").exists()


def test_a_backbone_alone_is_no_detector(checkpoint, tmp_path):
    result = run(checkpoint, tmp_path / "a.safetensors")
    assert isinstance(result.exception, DataError)
    assert not list(tmp_path.iterdir())


def test_settings_of_the_attention_are_options(tmp_path):
    tensors = {
        f"backbone.layer{stage}.{block}.conv1.weight": torch.ones(1)
        for stage in range(1, 5)
        for block in (0, 1)
    }
    for block in (0, 1):
        tensors[f"backbone.layer4.{block}.gen_attention_block.value_conv.weight"] = torch.ones(
            8, 8, 1, 1
        )
    torch.save(tensors, tmp_path / "a.pth")
    result = run(tmp_path / "a.pth", tmp_path / "b.safetensors", "--backbone")
    assert isinstance(result.exception, SpecError)
    assert result.exception.field == "heads"
    options = ("--heads", "8", "--key-stride", "2", "--terms", "1000", "--inexact")
    result = run(tmp_path / "a.pth", tmp_path / "b.safetensors", "--backbone", *options)
    assert "terms=1000 does not fit" in str(result.exception)
