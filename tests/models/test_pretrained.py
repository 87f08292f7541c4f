import dataclasses
import hashlib
import zipfile
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from quatrain.models.pretrained import load_pretrained
from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import DataError


def body(layers=1):
    """A small network with names like those of a ResNet."""
    parts = {"conv1": nn.Conv2d(3, 4, 3), "bn1": nn.BatchNorm2d(4)}
    return nn.ModuleDict(parts | {f"layer{n + 1}": nn.Linear(4, 4) for n in range(layers)})


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(path, state=None):
    """Save a state_dict, or other content, at a path; weights of a classifier are in it too."""
    state = body().state_dict() | {"fc.weight": torch.zeros(2)} if state is None else state
    if isinstance(state, bytes):
        path.write_bytes(state)
    else:
        save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return state


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_loaded_from_a_file_with_the_given_hash(suffix, tmp_path):
    path, network = tmp_path / f"weights.{suffix}", body()
    state = saved(path)
    load_pretrained(network, 18, sha256(path), str(path))
    for name, value in network.state_dict().items():
        assert torch.equal(value, state[name])


def test_a_network_with_mixers_loads_weights_before_they_are_added(tmp_path):
    path = tmp_path / "weights.pt"
    state = saved(path, torchvision.models.resnet18(num_classes=5).state_dict())
    spec = ResNetSpec(
        depth=18,
        weights=sha256(path),
        weights_file=str(path),
        mixer=parse_mixer("0010"),
        norm="frozen",
    )
    loaded = spec.build().body
    assert torch.equal(loaded.conv1.weight, state["conv1.weight"])
    wrapper = loaded.get_submodule("layer4.1.bn2")
    assert torch.equal(wrapper.original.running_var, state["layer4.1.bn2.running_var"])


def test_a_copy_of_published_weights_is_identified_by_the_hash_in_its_name(tmp_path, monkeypatch):
    path, network = tmp_path / "copy.pth", body()
    state = saved(path)
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    url = f"https://download.example/resnet18-{sha256(path)[:8]}.pth"
    monkeypatch.setattr(weights, "_value_", dataclasses.replace(weights.value, url=url))
    load_pretrained(network, 18, "IMAGENET1K_V1", str(path))
    assert torch.equal(network.conv1.weight, state["conv1.weight"])


@pytest.mark.parametrize(
    ("weights", "field"),
    [
        ("IMAGENET1K_V1", "weights_file"),
        ("0" * 64, "weights_file"),
        ("IMAGENET1K_V9", "weights"),
        ("", "weights"),
        ("g" * 64, "weights"),
    ],
)
def test_a_file_with_another_hash_is_refused_with_its_hash(weights, field, tmp_path):
    path = tmp_path / "weights.pt"
    saved(path)
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, weights, str(path))
    assert caught.value.field == field
    assert sha256(path) in str(caught.value)


@pytest.mark.parametrize(("file_layers", "layers"), [(2, 1), (1, 2)])
def test_weights_of_another_depth_are_refused(file_layers, layers, tmp_path):
    """A deeper network has all names and shapes of a shallower one of its kind."""
    path = tmp_path / "weights.safetensors"
    saved(path, body(file_layers).state_dict())
    with pytest.raises(DataError) as caught:
        load_pretrained(body(layers), 18, sha256(path), str(path))
    assert "ResNet-18" in str(caught.value)


def test_unknown_tensors_are_refused(tmp_path):
    path = tmp_path / "weights.safetensors"
    saved(path, body().state_dict() | {"head.weight": torch.zeros(2)})
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, sha256(path), str(path))
    assert "head.weight" in str(caught.value)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"epoch 1: loss 0.3\n",
        {"model": torch.nn.ReLU()},
        {"epoch": 3},
        {3: torch.zeros(3)},
        torch.zeros(3),
        [torch.zeros(3)],
    ],
    ids=["empty", "text", "a class", "a number", "a numbered tensor", "a tensor", "a list"],
)
def test_a_file_without_a_state_dict_is_refused(content, tmp_path):
    path = tmp_path / "weights.pt"
    saved(path, content)
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, sha256(path), str(path))
    assert caught.value.field == "weights_file"
    assert str(path) in str(caught.value)


def test_a_compressed_archive_is_refused(tmp_path):
    path = tmp_path / "weights.pt"
    saved(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            archive.writestr(name, bytes(10**7) if name.endswith("data/0") else content)
    with pytest.raises(DataError):
        load_pretrained(body(), 18, sha256(path), str(path))


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, "0" * 64, str(tmp_path / "none.pt"))
    assert caught.value.field == "weights_file"


def test_an_unknown_name_without_a_file_is_refused_with_the_known_names():
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, "IMAGENET")
    assert "IMAGENET1K_V1" in str(caught.value)


def test_weights_that_cannot_be_downloaded_are_refused(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, "IMAGENET1K_V1")
    assert caught.value.field == "weights"
    assert "weights_file" in str(caught.value)


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "change",
    [
        lambda value: torch.empty_like(value, device="meta"),
        torch.Tensor.to_sparse,
        lambda value: value.flatten(1).to_sparse_csr(),
        lambda value: torch.quantize_per_tensor(value, 0.1, 0, torch.qint8),
        lambda value: torch.nested.nested_tensor(list(value)),
        lambda value: value[..., 0],
        lambda value: value.to(torch.complex64),
        lambda value: value.to(torch.int64),
        lambda value: value.fill_(torch.nan),
        lambda value: value.double().fill_(1e300),
        lambda value: value.fill_(torch.nan).to(torch.float8_e4m3fn),
    ],
    ids=[
        "meta",
        "sparse",
        "csr",
        "quantized",
        "nested",
        "shape",
        "complex",
        "int",
        "nan",
        "overflow",
        "float8",
    ],
)
def test_tensors_that_are_not_dense_finite_floats_of_the_shape_are_refused(change, tmp_path):
    path, state = tmp_path / "weights.pt", body().state_dict()
    state["conv1.weight"] = change(state["conv1.weight"].clone())
    saved(path, state)
    with pytest.raises(DataError) as caught:
        load_pretrained(body(), 18, sha256(path), str(path))
    assert caught.value.field == "conv1.weight"
    assert "\n" not in str(caught.value)
