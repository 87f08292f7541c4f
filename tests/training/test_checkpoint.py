import copy
import dataclasses
import errno
import json
import os
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import nn

from quatrain.insertion import insert
from quatrain.nn import parse_mixer
from quatrain.results.attempts import RunPaused
from quatrain.specs import DataError, StoredFileError, StudyError
from quatrain.training import Recipe, build_model, checkpoint, load_model, save_model, train
from quatrain.training.checkpoint import MODEL, NAME, TrainingObjects
from quatrain.training.log import TrainingState
from quatrain.weights.tensor_file import read_tensors, write_tensors

RECIPE = Recipe(steps=20, accumulate=2, warmup_steps=0)
STATE = TrainingState(step=3, batches=6, seconds=0.7, total=0.1 + 0.2, weight=7.0, since=1 / 3)


def initial(width=2, data="a", optimizer=torch.optim.AdamW, average=True):
    model = nn.Linear(width, 1)
    return TrainingObjects(
        model,
        optimizer(model.parameters(), lr=0.1),
        copy.deepcopy(model) if average else None,
        torch.amp.GradScaler("cpu", enabled=True),
        {"rows": data},
    )


def trained(**arguments):
    objects = initial(**arguments)
    objects.model(torch.ones(1, objects.model.in_features)).sum().backward()
    objects.optimizer.step()
    scaler = {**objects.scaler.state_dict(), "scale": 32.0, "_growth_tracker": 5}
    objects.scaler.load_state_dict(scaler)
    return objects


def load(folder, objects):
    return checkpoint.load(folder, objects, RECIPE)


def values_of(objects):
    states = objects.optimizer.state_dict()["state"]
    tensors = [*objects.model.state_dict().values(), *objects.average.state_dict().values()]
    tensors += [state[name] for state in states.values() for name in sorted(state)]
    return [value.tolist() for value in tensors], objects.scaler.state_dict()


def test_all_objects_are_restored(tmp_path):
    objects, others = trained(), initial()
    checkpoint.save(tmp_path, STATE, objects)
    assert values_of(others) != values_of(objects)
    assert load(tmp_path, others) == STATE
    assert values_of(others) == values_of(objects)
    keys = [
        [state.keys() for state in each.optimizer.state_dict()["state"].values()]
        for each in (objects, others)
    ]
    assert keys[0] == keys[1]


def test_without_a_checkpoint_the_state_is_the_initial_one(tmp_path):
    assert load(tmp_path, initial()) == TrainingState()


@pytest.mark.parametrize("size", [0, 7, 8, 100, -1])
def test_a_truncated_checkpoint_is_refused_in_one_line(tmp_path, size):
    checkpoint.save(tmp_path, STATE, trained())
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(StoredFileError) as raised:
        load(tmp_path, initial())
    assert raised.value.field == str(path)
    assert "\n" not in str(raised.value)


def changed_bytes(content, stride):
    random = np.random.default_rng(0)
    for at in range(0, len(content), stride):
        byte = content[at] ^ int(random.integers(1, 256))
        yield content[:at] + bytes([byte]) + content[at + 1 :]


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_change_of_any_byte_is_refused(tmp_path, stride):
    checkpoint.save(tmp_path, STATE, trained())
    path = tmp_path / NAME
    content = path.read_bytes()
    objects = initial()
    for damaged in changed_bytes(content, stride):
        path.write_bytes(damaged)
        with pytest.raises(StoredFileError):
            load(tmp_path, objects)
    assert len(content) > 1000


@pytest.mark.parametrize("stride", [17, pytest.param(1, marks=pytest.mark.slow)])
def test_a_change_of_any_byte_of_a_model_is_refused(tmp_path, stride):
    save_model(tmp_path, nn.Linear(2, 1))
    path, model = tmp_path / MODEL, nn.Linear(2, 1)
    for damaged in changed_bytes(path.read_bytes(), stride):
        path.write_bytes(damaged)
        with pytest.raises(StoredFileError):
            load_model(tmp_path, model)


@pytest.mark.parametrize("rounds", [5, pytest.param(200, marks=pytest.mark.slow)])
def test_added_removed_and_exchanged_bytes_are_refused(tmp_path, rounds):
    checkpoint.save(tmp_path, STATE, trained())
    path = tmp_path / NAME
    content = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(rounds):
        first, last = sorted(random.integers(0, len(content), 2).tolist())
        for damaged in (
            content[:first] + content[last + 1 :],
            content[:first] + content[first:last] + content[first:],
            content[:first] + random.bytes(last - first + 1) + content[last + 1 :],
            content[:first] + content[last:] + content[first:last],
        ):
            if damaged == content:
                continue
            path.write_bytes(damaged)
            with pytest.raises(StoredFileError):
                load(tmp_path, initial())


def rewrite(folder, change, *, checksum):
    """Change the tensors or the header of a checkpoint, with a valid checksum or without one."""
    tensors, texts = read_tensors(folder / NAME)
    header = {name: json.loads(text) for name, text in texts.items()}
    change(tensors, header)
    texts = {name: json.dumps(value) for name, value in header.items()}
    if checksum:
        write_tensors(folder / NAME, tensors, texts)
    else:
        (folder / NAME).write_bytes(to_bytes(tensors, metadata=texts))


def put(name, **fields):
    return lambda _, header: header[name].update(fields)


def tensor(name, value):
    return lambda tensors, _: tensors.update({name: value})


INVALID = {
    "step beyond the training": put("position", step=1000, batches=2000),
    "no state": lambda _, header: header.pop("position"),
    "average of another shape": tensor("average/weight", torch.ones(1)),
    "unknown average": tensor("average/more", torch.ones(1)),
    "optimizer state of another shape": tensor("optimizer/0/exp_avg", torch.ones(1)),
    "optimizer state of no parameter": tensor("optimizer/2/exp_avg", torch.ones(1, 2)),
    "unknown part": tensor("modle/weight", torch.ones(1, 2)),
}


@pytest.mark.parametrize("name", ["position", "scaler", "data"])
@pytest.mark.parametrize("text", ["[" * 100_000, "[1]", "null", "7", "{", '{"step": []}'])
def test_other_json_in_the_header_is_refused(tmp_path, name, text):
    checkpoint.save(tmp_path, STATE, trained())
    tensors, texts = read_tensors(tmp_path / NAME)
    write_tensors(tmp_path / NAME, tensors, {**texts, name: text})
    with pytest.raises((StoredFileError, DataError)):
        load(tmp_path, initial())


def test_a_built_model_has_the_stored_weights(tmp_path):
    model = nn.Linear(2, 1)
    save_model(tmp_path, model)
    before = torch.random.get_rng_state()
    built = build_model(tmp_path, lambda: nn.Linear(2, 1))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(built.weight, model.weight)


def test_a_model_that_the_weights_do_not_fit_is_not_built(tmp_path):
    save_model(tmp_path, nn.Linear(2, 1))
    with pytest.raises(StoredFileError, match=r"weight has shape \(1, 2\) in the file"):
        build_model(tmp_path, lambda: nn.Linear(2**40, 2**20))


@pytest.mark.parametrize("change", INVALID.values(), ids=INVALID)
def test_invalid_content_is_refused_with_and_without_checksum(tmp_path, change):
    for checksum in (True, False):
        checkpoint.save(tmp_path, STATE, trained())
        rewrite(tmp_path, change, checksum=checksum)
        with pytest.raises(StoredFileError) as raised:
            load(tmp_path, initial())
        assert "delete this file" in str(raised.value)


NEWER = {
    "field": put("position", epoch=1),
    "text": lambda _, header: header.update(more={}),
    "nothing": lambda *_: None,
}


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_unknown_fields_and_a_missing_checksum_are_ignored(tmp_path, change, checksum):
    objects, others = trained(), initial()
    checkpoint.save(tmp_path, STATE, objects)
    rewrite(tmp_path, change, checksum=checksum)
    assert (b"sha256" in (tmp_path / NAME).read_bytes()) == checksum
    assert load(tmp_path, others) == STATE
    assert values_of(others) == values_of(objects)


def test_a_file_of_a_later_format_is_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("quatrain.weights.tensor_file._FORMAT", 2)
    checkpoint.save(tmp_path, STATE, trained())
    save_model(tmp_path, nn.Linear(2, 1))
    monkeypatch.undo()
    for read in (
        lambda: load(tmp_path, initial()),
        lambda: load_model(tmp_path, nn.Linear(2, 1)),
    ):
        with pytest.raises(StoredFileError) as raised:
            read()
        assert "newer version" in str(raised.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", [NAME, MODEL])
def test_a_pipe_in_place_of_a_file_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoredFileError) as raised:
        load(tmp_path, initial()) if name == NAME else load_model(tmp_path, nn.Linear(2, 1))
    assert raised.value.field == str(tmp_path / name)


def test_a_checkpoint_of_a_model_of_another_shape_is_refused_with_both_shapes(tmp_path):
    narrow, wide = (
        dataclasses.replace(initial(average=False), model=nn.Linear(4, width)) for width in (3, 5)
    )
    checkpoint.save(tmp_path, STATE, narrow)
    with pytest.raises(StoredFileError) as raised:
        load(tmp_path, wide)
    assert "(3, 4)" in str(raised.value)
    assert "(5, 4)" in str(raised.value)


def test_a_checkpoint_of_a_model_without_the_mixer_is_refused(tmp_path):
    plain, mixed = (
        dataclasses.replace(initial(average=False), model=nn.Sequential(nn.Linear(4, 4)))
        for _ in range(2)
    )
    insert(mixed.model, parse_mixer("0010", heads=2), after="0", example=torch.zeros(1, 3, 4))
    mixed.model.load_state_dict(plain.model.state_dict())  # users may do so
    checkpoint.save(tmp_path, STATE, plain)
    with pytest.raises(StoredFileError):
        load(tmp_path, mixed)
    save_model(tmp_path, plain.model)
    with pytest.raises(StoredFileError):
        load_model(tmp_path, mixed.model)


@pytest.mark.parametrize("stored", [True, False])
def test_a_checkpoint_must_have_an_average_exactly_if_the_recipe_has_one(tmp_path, stored):
    checkpoint.save(tmp_path, STATE, trained(average=stored))
    with pytest.raises(StoredFileError):
        load(tmp_path, initial(average=not stored))


def test_a_checkpoint_of_other_data_is_refused(tmp_path):
    checkpoint.save(tmp_path, STATE, trained(data="a"))
    with pytest.raises(DataError) as raised:
        load(tmp_path, initial(data="b"))
    assert raised.value.field == "data"
    assert "rows" in str(raised.value)


def test_sgd_without_momentum_has_no_state(tmp_path):
    checkpoint.save(tmp_path, STATE, trained(optimizer=torch.optim.SGD))
    assert load(tmp_path, initial(optimizer=torch.optim.SGD)) == STATE


def no_space(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("function", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_leaves_the_previous_checkpoint(tmp_path, monkeypatch, function):
    checkpoint.save(tmp_path, STATE, trained())
    content = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(function, no_space)
    with pytest.raises(StudyError) as raised:
        checkpoint.save(tmp_path, TrainingState(), trained())
    assert str(tmp_path) in str(raised.value)
    assert isinstance(raised.value.__cause__, OSError)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == content


def test_a_file_over_the_size_limit_of_the_system_is_an_error(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StudyError):
            checkpoint.save(tmp_path, STATE, trained())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_restored(tmp_path):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    save_model(tmp_path, model)
    load_model(tmp_path, other)
    assert torch.equal(model.weight, other.weight)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]


@pytest.mark.parametrize("texts", [None, {"format": "pt"}, {"format": "pt", "epoch": "3"}])
def test_a_model_without_a_checksum_is_read(tmp_path, texts):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    (tmp_path / MODEL).write_bytes(to_bytes(dict(model.state_dict()), metadata=texts))
    load_model(tmp_path, other)
    assert torch.equal(model.weight, other.weight)


def test_unknown_texts_of_a_model_are_ignored(tmp_path):
    model, other = nn.Linear(2, 1), nn.Linear(2, 1)
    write_tensors(tmp_path / MODEL, dict(model.state_dict()), {"license": "MIT"})
    load_model(tmp_path, other)
    assert torch.equal(model.weight, other.weight)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_weights_are_converted_to_the_floating_point_type_of_the_model(tmp_path, stored, dtype):
    model, other = nn.Linear(2, 1, dtype=stored), nn.Linear(2, 1, dtype=dtype)
    save_model(tmp_path, model)
    load_model(tmp_path, other)
    assert other.weight.dtype == dtype
    assert torch.equal(other.weight, model.weight.to(dtype))


def test_weights_that_share_memory_are_stored(tmp_path):
    tied = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    tied[1].weight = tied[0].weight
    save_model(tmp_path, tied)
    load_model(tmp_path, nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(2)]))


def test_a_missing_or_damaged_model_and_one_of_another_network_are_refused(tmp_path):
    def check_refused():
        with pytest.raises(StoredFileError) as raised:
            load_model(tmp_path, nn.Linear(2, 1))
        assert raised.value.field == str(tmp_path / MODEL)

    check_refused()
    save_model(tmp_path, nn.Linear(3, 1))
    check_refused()
    (tmp_path / MODEL).write_bytes(b"no")
    check_refused()


def test_a_checkpoint_after_the_last_step_of_the_recipe_is_refused(tiny, tmp_path):
    train(tiny.Task(), tmp_path, seed=7)
    with pytest.raises(StoredFileError):
        train(tiny.Task(steps=8), tmp_path, seed=7)
    train(tiny.Task(steps=16), tmp_path, seed=7)


def test_a_training_of_other_data_than_the_checkpoint_is_refused(tiny, tmp_path):
    train(tiny.Task(), tmp_path, seed=7)
    with pytest.raises(DataError) as raised:
        train(tiny.Task(data={"rows": "1"}), tmp_path, seed=7)
    assert raised.value.field == "data"
    assert "rows" in str(raised.value)


@pytest.mark.parametrize("step", [1, 4, 11])
def test_a_training_that_is_asked_to_stop_writes_a_checkpoint_after_its_step(tiny, tmp_path, step):
    task = tiny.Task(steps=12, checkpoint_every=5)
    asked = iter(range(1, 100))
    with pytest.raises(RunPaused):
        train(task, tmp_path / "paused", seed=7, should_stop=lambda: next(asked) == step)
    assert next(asked) == step + 1
    resumed = train(task, tmp_path / "paused", seed=7)
    whole = train(task, tmp_path / "whole", seed=7, should_stop=lambda: False)
    assert tiny.same(tiny.weights_of(resumed), tiny.weights_of(whole))
