import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.functional import dropout

from quatrain.cost import count_multiply_adds
from quatrain.insertion import FrozenFeatures, insert
from quatrain.insertion.frozen_features import _key
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError
from quatrain.weights import read_tensors, write_tensors

AT = ("0", "2")


def network():
    """Its second layer changes the output of the first one in place."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3, stride=2),
        nn.BatchNorm2d(6),
        nn.Dropout(0.5),
    )


def images(number=3, height=8, width=10, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(number, 3, height, width, generator=generator)


@pytest.fixture
def count_calls(monkeypatch):
    """The batches that a network computed."""
    shapes = []
    forward = nn.Sequential.forward
    monkeypatch.setattr(
        nn.Sequential, "forward", lambda self, x: shapes.append(tuple(x.shape)) or forward(self, x)
    )
    return shapes


@pytest.fixture
def frozen(tmp_path):
    return FrozenFeatures(network(), AT, cache=tmp_path, limit=100)


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def expected(model, x):
    """The features by direct computation, each image alone."""
    model.eval()
    first = [model[0](image[None]) for image in x]
    second = [model[2](model[1](output.clone())) for output in first]
    return {"0": torch.cat(first), "2": torch.cat(second)}


def are_equal(left, right):
    return left.keys() == right.keys() and all(
        torch.equal(left[name], right[name]) for name in left
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_features_are_those_of_each_image_alone_bit_for_bit(dtype, tmp_path, one_thread):
    model, x = network().to(dtype), images().to(dtype)
    frozen = FrozenFeatures(model, AT, cache=tmp_path, limit=3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = frozen(x)
    assert are_equal(features, expected(model, x))
    assert are_equal(frozen(x), expected(model, x))
    assert list(features) == ["0", "2"]


def test_features_do_not_depend_on_the_batch_or_its_memory_order(frozen, count_calls):
    x = images()
    together = frozen(x)
    for index in range(3):
        assert torch.equal(frozen(x[index : index + 1])["2"][0], together["2"][index])
    assert are_equal(frozen(x.contiguous(memory_format=torch.channels_last)), together)
    assert set(count_calls) == {(1, 3, 8, 10)}
    assert len(count_calls) == 4  # the first image twice


def test_a_second_call_reads_also_in_another_object(frozen, tmp_path, count_calls):
    x = images()
    features = frozen(x)
    assert count_calls.pop()
    count_calls.clear()
    assert are_equal(frozen(x.flip(0)), {name: y.flip(0) for name, y in features.items()})
    assert are_equal(FrozenFeatures(network(), AT, cache=tmp_path, limit=3)(x), features)
    assert are_equal(FrozenFeatures(network(), AT[::-1], cache=tmp_path, limit=3)(x), features)
    assert count_calls == []
    assert len(files(tmp_path)) == 3


def test_the_path_has_the_hash_of_the_model_and_the_key(frozen, tmp_path):
    frozen(images(1))
    [path] = files(tmp_path)
    assert path.parent.parent.name == frozen.model_hash[:16]
    assert path.parent.name == path.stem[:2]
    assert len(path.stem) == 64


def test_the_model_neither_trains_nor_is_saved_with_a_network_that_holds_it(frozen):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.features, self.layer = frozen, nn.Conv2d(6, 2, 1)

        def forward(self, x):
            return self.layer(self.features(x)["2"])

    head, x = Head(), images().requires_grad_()
    head.train()
    head(x).sum().backward()
    assert x.grad is None
    assert all(p.grad is None and not p.requires_grad for p in frozen.model.parameters())
    assert not any(part.training for part in frozen.model.modules())
    assert list(head.state_dict()) == ["layer.weight", "layer.bias"]
    assert not any(value.requires_grad for value in frozen(x).values())


def test_a_model_in_training_mode_is_evaluated_and_keeps_its_mode(frozen):
    x = images()
    frozen.model.train()
    features, before = frozen(x), frozen.model[3].running_mean.clone()
    assert frozen.model.training
    assert torch.equal(frozen.model[3].running_mean, before)
    assert are_equal(features, expected(network(), x))


@torch.no_grad()
@pytest.mark.parametrize(
    ("change", "folders"),
    [
        (lambda model: model[0].weight[0, 0, 0, 0].add_(1e-6), 2),
        (lambda model: model[3].running_var.mul_(2), 2),
        (lambda model: model.__setitem__(1, nn.LeakyReLU(inplace=True)), 2),
        (lambda model: model.double().float(), 1),
    ],
    ids=["weight", "buffer", "structure", "none"],
)
def test_another_model_has_another_folder(change, folders, tmp_path):
    x, other = images(1), network()
    change(other)
    for model in (network(), other):
        features = FrozenFeatures(model, AT, cache=tmp_path, limit=1)(x)
        assert are_equal(features, expected(model, x))
    assert len([*tmp_path.iterdir()]) == len(files(tmp_path)) == folders


def test_a_change_of_weights_after_the_first_call_is_noticed(frozen, tmp_path):
    x = images(1)
    before = frozen(x)
    with torch.no_grad():
        frozen.model[0].weight.mul_(2)
    after = frozen(x)
    assert not torch.equal(before["0"], after["0"])
    assert are_equal(after, expected(frozen.model, x))
    assert len([*tmp_path.iterdir()]) == 2


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_another_shape_or_dtype_is_another_key(data, frozen):
    x = images(1)[0]
    index, bit = data.draw(st.integers(0, x.numel() * 4 - 1)), data.draw(st.integers(0, 7))
    other = x.clone()
    other.view(-1).view(torch.uint8)[index] ^= 1 << bit
    inputs = (x, other, x.clone().reshape(3, 10, 8), x.view(torch.int32), x[None])
    keys = {_key(each, frozen.model_hash) for each in inputs}
    assert len(keys) == 5
    assert _key(x.clone(), frozen.model_hash) in keys


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(path.read_bytes()[:-7]),
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-1] + b"\xff"),
        lambda path: write_tensors(path, {"0": torch.zeros(2)}, {"key": path.stem}),
        lambda path: write_tensors(path, read_tensors(path)[0], {"key": "0" * 64}),
    ],
    ids=["truncated", "empty", "changed", "other names", "of another image"],
)
def test_a_damaged_file_is_computed_again_and_replaced(damage, frozen, tmp_path, count_calls):
    x = images(1)
    features = frozen(x)
    [path] = files(tmp_path)
    damage(path)
    count_calls.clear()
    assert are_equal(frozen(x), features)
    assert len(count_calls) == 1
    assert are_equal(read_tensors(path)[0], {name: y[0] for name, y in features.items()})
    assert are_equal(frozen(x), features)
    assert len(count_calls) == 1


def test_flips_are_within_a_limit_of_twice_the_images_and_crops_are_not(tmp_path):
    x = images()
    frozen = FrozenFeatures(network(), AT, cache=tmp_path, limit=6)
    for _ in range(3):
        frozen(x)
        frozen(x.flip(-1))
    frozen(x.flip(0))
    with pytest.raises(InputError) as info:
        frozen(x[..., 1:])
    assert info.value.field == "limit"
    assert "flips only (limit = 2 x images)" in str(info.value)
    assert len(files(tmp_path)) == 6
    again = FrozenFeatures(network(), AT, cache=tmp_path, limit=2)
    with pytest.raises(InputError):  # images that are read count, too
        again(x)
    assert "2 of 2 images" in repr(again)


@pytest.mark.parametrize("limit", [0, -1, 2.0, True, "3"])
def test_a_limit_that_is_no_positive_number_is_refused(limit, tmp_path):
    with pytest.raises(InputError) as info:
        FrozenFeatures(network(), AT, cache=tmp_path, limit=limit)
    assert info.value.field == "limit"


def test_patterns_name_modules_once_in_their_order(tmp_path):
    frozen = FrozenFeatures(network(), ["2", "*", "0"], cache=tmp_path, limit=1)
    assert frozen.names == ("2", "0", "1", "3", "4")
    assert FrozenFeatures(network(), "2", cache=tmp_path, limit=1).names == ("2",)


@pytest.mark.parametrize(("at", "field"), [([], "at"), (["layer9"], "pattern")])
def test_names_that_match_nothing_are_refused(at, field, tmp_path):
    with pytest.raises(InputError) as info:
        FrozenFeatures(network(), at, cache=tmp_path, limit=1)
    assert info.value.field == field


class Random(nn.Module):
    def forward(self, x):
        return dropout(x, 0.5)


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        return x


def test_a_model_with_another_output_in_a_second_call_is_refused(tmp_path):
    frozen = FrozenFeatures(nn.Sequential(Random()), "0", cache=tmp_path, limit=5)
    with pytest.raises(InputError) as info:
        frozen(images())
    assert info.value.field == "0"
    assert "another output in a second call" in str(info.value)
    assert files(tmp_path) == []


def test_a_model_that_changes_when_it_is_called_is_refused(tmp_path):
    frozen = FrozenFeatures(nn.Sequential(Counter()), "0", cache=tmp_path, limit=5)
    with pytest.raises(InputError) as info:
        frozen(images())
    assert info.value.field == "model"


def test_features_that_are_nan_are_kept(tmp_path, count_calls):
    model = network()
    nn.init.constant_(model[2].bias, torch.nan)
    frozen = FrozenFeatures(model, AT, cache=tmp_path, limit=1)
    assert frozen(images(1))["2"].isnan().all()
    assert frozen(images(1))["2"].isnan().all()
    assert len(count_calls) == 2


@pytest.mark.parametrize("shape", [(), (0, 3, 8, 10)])
def test_an_empty_batch_is_refused(shape, frozen):
    with pytest.raises(InputError) as info:
        frozen(torch.zeros(shape))
    assert info.value.field == "images"


def test_copies_and_pickles_give_the_same_features(frozen, count_calls):
    with torch.no_grad():
        frozen.model[0].weight.mul_(2)
    x = images()
    features = frozen(x)
    count_calls.clear()
    for other in (copy.deepcopy(frozen), pickle.loads(pickle.dumps(frozen))):
        assert are_equal(other(x), features)
        assert other.model is not frozen.model
        assert repr(other) == repr(frozen)
    assert count_calls == []


def test_features_on_the_meta_device_have_shapes_and_no_files(frozen, tmp_path):
    model = network().to("meta")
    for each in (frozen, FrozenFeatures(model, AT, cache=tmp_path, limit=1)):
        features = each(torch.empty(2, 3, 8, 10, device="meta"))
        assert [value.shape for value in features.values()] == [(2, 4, 8, 10), (2, 6, 3, 4)]
        assert all(value.is_meta for value in features.values())
    assert files(tmp_path) == []
    assert "0 of 100" in repr(frozen)
    with pytest.raises(InputError):
        FrozenFeatures(model, AT, cache=tmp_path, limit=1)(images(1))


def test_multiply_adds_are_those_of_the_model_whether_or_not_there_are_files(frozen, tmp_path):
    class Head(nn.Module):
        def forward(self, x):
            return frozen(x)["2"]

    x = images(2)
    products = 2 * (8 * 10 * 27 * 4 + 3 * 4 * 36 * 6)
    assert count_multiply_adds(Head(), x) == products
    assert files(tmp_path) == []
    frozen(x)
    assert count_multiply_adds(Head(), x) == products
    assert count_multiply_adds(Head(), x.to("meta")) == products


def test_a_mixer_is_inserted_into_a_network_that_holds_features(frozen, tmp_path):
    class Head(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Conv2d(6, 8, 1)

        def forward(self, x):
            return self.layer(frozen(x)["2"])

    head, x = Head(), images(2)
    before = head(x)
    insert(head, parse_mixer("0010", heads=2), after="layer", example=x)
    assert torch.equal(head(x), before)
    assert len(files(tmp_path)) == 2


def test_no_features_stay_in_memory(frozen):
    def alive():
        return sum(
            type(each) is torch.Tensor and each.shape[-3:] == (6, 3, 4) for each in objects()
        )

    def objects():
        gc.collect()
        return gc.get_objects()

    features = frozen(images())
    assert alive() > 0
    del features
    assert alive() == 0


PROGRAM = """
import sys
import torch
from torch import nn
from quatrain import FrozenFeatures

torch.set_num_threads(1)
torch.manual_seed(0)
model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 6, 3))
images = torch.randn(40, 3, 16, 16)
frozen = FrozenFeatures(model, ["0", "2"], cache=sys.argv[1], limit=40)
sys.stdin.readline()
print(frozen.model_hash, float(frozen(images)["2"].double().sum()))
"""


@pytest.mark.slow
def test_two_processes_at_once_write_the_same_files(tmp_path):
    source = Path(__file__).parents[2] / "src"
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    environment = os.environ | {"PYTHONPATH": str(source)}
    children = [subprocess.Popen(command, env=environment, **pipes) for _ in range(2)]
    for child in children:
        child.stdin.write("\n")
        child.stdin.flush()
    outputs = [child.communicate()[0] for child in children]
    assert [child.returncode for child in children] == [0, 0]
    assert outputs[0] == outputs[1] != ""
    assert len(files(tmp_path)) == 40
    assert [path for path in tmp_path.rglob("*") if path.suffix == ".tmp"] == []
