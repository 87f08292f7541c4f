import dataclasses
import hashlib
from urllib.error import URLError

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from quatrain.models.resnet import ResNetSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import DataError


def built(**settings):
    torch.manual_seed(0)
    return ResNetSpec(**settings).build().eval()


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def saved(path, network=torchvision.models.resnet18):
    torch.manual_seed(7)
    state = network(num_classes=5).state_dict()
    save_file(state, path) if path.suffix == ".safetensors" else torch.save(state, path)
    return state


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_weights_are_read_from_a_file_of_the_content_that_is_named(suffix, tmp_path):
    path = tmp_path / f"weights.{suffix}"
    known = saved(path)
    named = {"weights": sha256(path), "weights_file": str(path)}
    found = built(depth=18, **named, mixer=parse_mixer("0010"), norm="frozen").body
    assert torch.equal(found.conv1.weight, known["conv1.weight"])
    place = found.get_submodule("layer4.1.bn2")
    assert torch.equal(place.original.running_var, known["layer4.1.bn2.running_var"])


def test_a_copy_of_published_weights_is_known_by_the_hash_in_its_name(tmp_path, monkeypatch):
    path = tmp_path / "anything.pth"
    known = saved(path)
    weights = torchvision.models.ResNet18_Weights.IMAGENET1K_V1
    url = f"https://download.example/resnet18-{sha256(path)[:8]}.pth"
    monkeypatch.setattr(weights, "_value_", dataclasses.replace(weights.value, url=url))
    found = built(depth=18, weights="IMAGENET1K_V1", weights_file=str(path)).body
    assert torch.equal(found.conv1.weight, known["conv1.weight"])


@pytest.mark.parametrize("weights", ["IMAGENET1K_V1", "0" * 64])
def test_a_file_of_another_content_is_refused_and_its_hash_is_told(weights, tmp_path):
    path = tmp_path / "weights.pt"
    saved(path)
    with pytest.raises(DataError, match=f"weights_file is .*weights={sha256(path)}"):
        built(depth=18, weights=weights, weights_file=str(path))


@pytest.mark.parametrize("weights", ["IMAGENET1K_V9", "", "g" * 64])
def test_what_names_no_file_at_all_is_told_with_the_hash_of_the_one_there_is(weights, tmp_path):
    path = tmp_path / "weights.pt"
    saved(path)
    with pytest.raises(DataError, match=rf"weights is .*IMAGENET1K_V1, or a.*={sha256(path)}"):
        built(depth=18, weights=weights, weights_file=str(path))


@pytest.mark.parametrize(("saved_depth", "depth"), [(34, 18), (18, 34), (101, 50), (34, 50)])
def test_weights_of_another_depth_are_refused(saved_depth, depth, tmp_path):
    """A deeper network has all the names of a shallower one of its kind, with the same shapes."""
    path = tmp_path / "weights.safetensors"
    saved(path, getattr(torchvision.models, f"resnet{saved_depth}"))
    with pytest.raises(DataError, match=f"layer.*give weights of a ResNet-{depth}"):
        built(depth=depth, weights=sha256(path), weights_file=str(path))


def test_weights_of_another_head_are_told_to_be_left_out(tmp_path):
    path = tmp_path / "weights.safetensors"
    state = torchvision.models.resnet18().state_dict()
    save_file(state | {"head.weight": torch.zeros(2)}, path)
    with pytest.raises(DataError, match=r"leave head\.weight out of"):
        built(depth=18, weights=sha256(path), weights_file=str(path))


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (torch.full((64, 3, 7, 7), torch.nan), 'conv1.weight is "NaN'),
        (torch.zeros(64, 3, 7, 7, dtype=torch.int64), 'conv1.weight is "torch.int64'),
        (torch.zeros(64, 3, 3, 3), r"conv1.weight is \(64, 3, 3, 3\).*\(64, 3, 7, 7\)"),
    ],
)
def test_weights_that_nothing_can_be_computed_with_are_refused(value, match, tmp_path):
    path = tmp_path / "weights.safetensors"
    save_file(torchvision.models.resnet18().state_dict() | {"conv1.weight": value}, path)
    with pytest.raises(DataError, match=match):
        built(depth=18, weights=sha256(path), weights_file=str(path))


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
    ids=["nothing", "text", "a class", "a number", "a numbered tensor", "a tensor", "a list"],
)
def test_a_file_that_holds_no_tensors_by_name_is_told(content, tmp_path):
    path = tmp_path / "weights.pt"
    path.write_bytes(content) if isinstance(content, bytes) else torch.save(content, path)
    with pytest.raises(DataError, match=r"weights_file is .*tensors by name"):
        built(depth=18, weights=sha256(path), weights_file=str(path))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match=r"weights_file is .*none\.pt.*No such file"):
        built(depth=18, weights="0" * 64, weights_file=str(tmp_path / "none.pt"))


def test_a_name_that_is_neither_weights_nor_a_file_is_told():
    with pytest.raises(DataError, match="IMAGENET1K_V1"):
        built(depth=18, weights="IMAGENET")


def test_weights_that_cannot_be_fetched_are_told_with_what_to_do(monkeypatch):
    def unreachable(*_, **__):
        raise URLError("Name or service not known")

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", unreachable)
    with pytest.raises(DataError, match=r"IMAGENET1K_V1.*by weights_file .*service not known"):
        built(depth=18, weights="IMAGENET1K_V1")


def without_values(value):
    return torch.empty_like(value, device="meta")


def quantized(value):
    return torch.quantize_per_tensor(value, 0.1, 0, torch.qint8)


def nested(value):
    return torch.nested.nested_tensor(list(value))


@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    ("change", "found"),
    [
        (without_values, "a tensor without values"),
        (torch.Tensor.to_sparse, "a tensor sparse"),
        (lambda value: value.flatten(1).to_sparse_csr(), "a tensor sparse"),
        (quantized, "a tensor sparse, nested or quantized"),
        (nested, "a tensor sparse, nested"),
        (lambda value: value.to(torch.complex64), "torch.complex64"),
        (lambda value: value.double().fill_(1e300), "NaN or infinite"),
        (lambda value: value.fill_(torch.nan).to(torch.float8_e4m3fn), "NaN or infinite"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_refused_in_a_sentence(change, found, tmp_path):
    path = tmp_path / "weights.pt"
    state = torchvision.models.resnet18().state_dict()
    state["conv1.weight"] = change(state["conv1.weight"].clone())
    torch.save(state, path)
    with pytest.raises(DataError, match=f'conv1.weight is "{found}') as told:
        built(depth=18, weights=sha256(path), weights_file=str(path))
    assert "\n" not in str(told.value)
