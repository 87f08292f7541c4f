import dataclasses
import errno
import json
import math
import os
import resource

import numpy as np
import pytest
import torch
from safetensors.torch import save as to_bytes
from torch import nn

from quatrain.insertion import insert
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import DataError, StoredFileError, StudyError
from quatrain.training import Recipe, checkpoint, load_model, save_model
from quatrain.training.checkpoint import MODEL, NAME, Trained, seed_step
from quatrain.training.state import TrainingState
from quatrain.training.tensor_file import read_tensors, write_tensors

RECIPE = Recipe(steps=20, accumulate=2, warmup_steps=0)
POSITION = TrainingState(step=3, batches=6, seconds=0.7, total=0.1 + 0.2, weight=7.0, since=1 / 3)


def trained(width=2, data="a", optimizer=torch.optim.AdamW, average=True):
    model = nn.Linear(width, 1)
    copies = {name: torch.zeros_like(value) for name, value in model.state_dict().items()}
    return Trained(
        model,
        optimizer(model.parameters(), lr=0.1),
        copies if average else {},
        torch.amp.GradScaler("cpu", enabled=True),
        {"rows": data},
    )


def stepped(**arguments):
    one = trained(**arguments)
    one.model(torch.ones(1, one.model.in_features)).sum().backward()
    one.optimizer.step()
    for value in one.average.values():
        value.fill_(0.5)
    one.scaler.load_state_dict({**one.scaler.state_dict(), "scale": 32.0, "_growth_tracker": 5})
    return one


def restored(folder, one):
    return checkpoint.load(folder, one, RECIPE)


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_everything_comes_back_as_it_was(tmp_path):
    one, other = stepped(), trained()
    checkpoint.save(tmp_path, POSITION, one)
    assert restored(tmp_path, other) == POSITION
    assert torch.equal(other.average["weight"], torch.full((1, 2), 0.5))
    assert state_of(other) == state_of(one)
    states = [each.optimizer.state_dict()["state"] for each in (one, other)]
    assert [state.keys() for state in states[0].values()] == [
        state.keys() for state in states[1].values()
    ]


def test_a_folder_without_a_checkpoint_is_the_beginning(tmp_path):
    assert restored(tmp_path, trained()) == TrainingState()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 300, -1])
def test_a_checkpoint_cut_short_is_told_in_a_sentence(tmp_path, size):
    checkpoint.save(tmp_path, POSITION, stepped())
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        StoredFileError, match=r"expected a whole file .*: delete this file"
    ) as told:
        restored(tmp_path, trained())
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def state_of(one):
    states = one.optimizer.state_dict()["state"]
    tensors = [*one.model.state_dict().values(), *one.average.values()]
    tensors += [state[name] for state in states.values() for name in sorted(state)]
    return [value.tolist() for value in tensors], one.scaler.state_dict()


def test_a_change_of_any_byte_is_refused_in_a_sentence(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped())
    path = tmp_path / NAME
    whole = path.read_bytes()
    random = np.random.default_rng(0)
    for at in range(len(whole)):
        other = whole[at] ^ int(random.integers(1, 256))
        path.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
        with pytest.raises(StoredFileError, match="expected a whole file of this run") as told:
            restored(tmp_path, trained())
        assert "\n" not in str(told.value)
    assert len(whole) > 1000


def test_bytes_that_are_added_taken_out_or_exchanged_are_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped())
    path = tmp_path / NAME
    whole = path.read_bytes()
    random = np.random.default_rng(1)
    for _ in range(200):
        first, last = sorted(random.integers(0, len(whole), 2).tolist())
        for damaged in (
            whole[:first] + whole[last + 1 :],
            whole[:first] + whole[first:last] + whole[first:],
            whole[:first] + random.bytes(last - first + 1) + whole[last + 1 :],
            whole[:first] + whole[last:] + whole[first:last],
        ):
            if damaged == whole:
                continue
            path.write_bytes(damaged)
            with pytest.raises(StoredFileError):
                restored(tmp_path, trained())


def rewritten(folder, change, *, checksum):
    """The checkpoint with other tensors or texts, as whoever has no checksum would write it."""
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


WRONG = {
    "a step beyond the training": put("position", step=1000, batches=2000),
    "a step of no whole number": put("position", step=3.5),
    "a step of text": put("position", step="3"),
    "a step that is true": put("position", step=True, batches=2),
    "a step before the first": put("position", step=-1, batches=-2),
    "batches of other steps": put("position", batches=7),
    "seconds that are infinite": put("position", seconds=math.inf),
    "seconds before now": put("position", since=0.8),
    "a loss that is no number": put("position", total=math.nan),
    "a scale of zero": put("scaler", scale=0.0),
    "a scale of infinity": put("scaler", scale=math.inf),
    "a scale of text": put("scaler", scale="32"),
    "another growth": put("scaler", growth_factor=4.0),
    "a part of an age": put("scaler", _growth_tracker=1.5),
    "data of numbers": put("data", rows=1),
    "no position": lambda _, header: header.pop("position"),
    "a weight of whole numbers": tensor("model/weight", torch.ones(1, 2, dtype=torch.int32)),
    "a weight of half the size": tensor("model/weight", torch.ones(1, 2, dtype=torch.float16)),
    "an average of another type": tensor("average/weight", torch.ones(1, 2, dtype=torch.int32)),
    "an average of another shape": tensor("average/weight", torch.ones(1)),
    "an average of nothing": tensor("average/more", torch.ones(1)),
    "a state of another shape": tensor("optimizer/0/exp_avg", torch.ones(1)),
    "a state of another type": tensor("optimizer/0/exp_avg", torch.ones(1, 2, dtype=torch.int32)),
    "a state of no parameter": tensor("optimizer/2/exp_avg", torch.ones(1, 2)),
    "a state from behind": tensor("optimizer/-1/exp_avg", torch.ones(1)),
    "a state of one parameter alone": tensor("optimizer/0/more", torch.ones(1, 2)),
    "more steps of one parameter": tensor("optimizer/0/step", torch.tensor(4.0)),
    "steps that are no number": tensor("optimizer/0/step", torch.tensor(math.nan)),
    "a tensor of no part": tensor("modle/weight", torch.ones(1, 2)),
}


NEWER = {
    "another field": put("position", epoch=1),
    "another text": lambda _, header: header.update(more={}),
}


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("change", NEWER.values(), ids=NEWER)
def test_what_a_newer_version_added_to_a_checkpoint_is_not_read(tmp_path, change, checksum):
    one, other = stepped(), trained()
    checkpoint.save(tmp_path, POSITION, one)
    rewritten(tmp_path, change, checksum=checksum)
    assert restored(tmp_path, other) == POSITION
    assert state_of(other) == state_of(one)


def test_files_of_a_later_format_are_not_called_damaged(tmp_path, monkeypatch):
    monkeypatch.setattr("quatrain.training.tensor_file._FORMAT", 2)
    checkpoint.save(tmp_path, POSITION, stepped())
    save_model(tmp_path, nn.Linear(2, 1))
    monkeypatch.undo()
    for read in (
        lambda: restored(tmp_path, trained()),
        lambda: load_model(tmp_path, nn.Linear(2, 1)),
    ):
        with pytest.raises(StoredFileError, match=r"is 2, .*a newer version.*: use that") as told:
            read()
        assert "delete" not in str(told.value)
        assert str(tmp_path) in str(told.value)


@pytest.mark.timeout(30)
@pytest.mark.parametrize("name", [NAME, MODEL])
def test_a_pipe_in_the_place_of_a_file_is_refused(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(StoredFileError, match=r"a whole file of this run \(it is no regular file"):
        restored(tmp_path, trained()) if name == NAME else load_model(tmp_path, nn.Linear(2, 1))


@pytest.mark.parametrize("checksum", [True, False])
@pytest.mark.parametrize("change", WRONG.values(), ids=WRONG)
def test_what_this_training_cannot_have_written_is_refused(tmp_path, change, checksum):
    checkpoint.save(tmp_path, POSITION, stepped())
    rewritten(tmp_path, change, checksum=checksum)
    with pytest.raises(StoredFileError, match="delete this file to train from the beginning"):
        restored(tmp_path, trained())


def test_a_checkpoint_from_before_there_were_checksums_is_read(tmp_path):
    one, other = stepped(), trained()
    checkpoint.save(tmp_path, POSITION, one)
    rewritten(tmp_path, lambda *_: None, checksum=False)
    assert b"sha256" not in (tmp_path / NAME).read_bytes()
    assert restored(tmp_path, other) == POSITION
    assert state_of(other) == state_of(one)


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(width=3))
    with pytest.raises(StoredFileError, match=r"weight is of shape|bias is of shape"):
        restored(tmp_path, trained(width=2))


def test_a_checkpoint_of_a_model_without_the_mixer_is_refused(tmp_path):
    plain, mixed = (
        dataclasses.replace(trained(average=False), model=nn.Sequential(nn.Linear(4, 4)))
        for _ in range(2)
    )
    insert(mixed.model, parse_mixer("0010", heads=2), after="0", example=torch.zeros(1, 3, 4))
    mixed.model.load_state_dict(plain.model.state_dict())  # as users may
    checkpoint.save(tmp_path, POSITION, plain)
    with pytest.raises(StoredFileError, match="is missing from the file"):
        restored(tmp_path, mixed)
    save_model(tmp_path, plain.model)
    with pytest.raises(StoredFileError, match="is missing from the file"):
        load_model(tmp_path, mixed.model)


def test_the_weight_of_another_shape_is_named_with_both(tmp_path):
    narrow, wide = (
        dataclasses.replace(trained(average=False), model=nn.Linear(4, width)) for width in (3, 5)
    )
    checkpoint.save(tmp_path, POSITION, narrow)
    with pytest.raises(StoredFileError, match=r"weight is of shape \(3, 4\) there and \(5, 4\)"):
        restored(tmp_path, wide)


def test_a_checkpoint_without_the_average_that_is_wanted_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(average=False))
    with pytest.raises(StoredFileError):
        restored(tmp_path, trained())


def test_a_checkpoint_trained_on_other_data_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(data="a"))
    with pytest.raises(DataError, match='data is "rows", expected as it was when'):
        restored(tmp_path, trained(data="b"))


def test_sgd_without_momentum_has_no_state_to_keep(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(optimizer=torch.optim.SGD))
    assert restored(tmp_path, trained(optimizer=torch.optim.SGD)) == POSITION


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_is_told_and_leaves_the_former_checkpoint(tmp_path, monkeypatch, place):
    checkpoint.save(tmp_path, POSITION, stepped())
    before = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(place, full)
    with pytest.raises(StudyError, match='"No space left on device"; make room') as told:
        checkpoint.save(tmp_path, TrainingState(), stepped())
    assert str(tmp_path) in str(told.value)
    assert isinstance(told.value.__cause__, OSError)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before


def test_a_file_larger_than_the_system_allows_is_told(tmp_path):
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(StudyError, match="File too large"):
            checkpoint.save(tmp_path, POSITION, stepped())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(tmp_path.iterdir()) == []


def test_a_link_where_a_temporary_file_may_be_is_not_followed(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("mine")
    for name in (NAME, MODEL):
        (tmp_path / f".{name}.tmp").symlink_to(own)
    checkpoint.save(tmp_path, POSITION, stepped())
    save_model(tmp_path, nn.Linear(2, 1))
    assert own.read_text() == "mine"


def test_a_model_is_kept_alone_and_comes_back(tmp_path):
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    save_model(tmp_path, one)
    load_model(tmp_path, other)
    assert torch.equal(one.weight, other.weight)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]


def test_a_change_of_any_byte_of_a_model_is_refused(tmp_path):
    save_model(tmp_path, nn.Linear(2, 1))
    whole = (tmp_path / MODEL).read_bytes()
    for at in range(len(whole)):
        for bit in (1, 128):
            (tmp_path / MODEL).write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1 :])
            with pytest.raises(StoredFileError, match="move the run's folder away"):
                load_model(tmp_path, nn.Linear(2, 1))


@pytest.mark.parametrize("texts", [None, {"format": "pt"}, {"format": "pt", "epoch": "3"}])
def test_a_model_without_a_checksum_is_read_whatever_texts_it_has(tmp_path, texts):
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    (tmp_path / MODEL).write_bytes(to_bytes(dict(one.state_dict()), metadata=texts))
    load_model(tmp_path, other)
    assert torch.equal(one.weight, other.weight)


@pytest.mark.parametrize("stored", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("wanted", [torch.float64, torch.bfloat16])
def test_weights_are_converted_to_the_floating_type_of_the_model(tmp_path, stored, wanted):
    one, other = nn.Linear(2, 1, dtype=stored), nn.Linear(2, 1, dtype=wanted)
    save_model(tmp_path, one)
    load_model(tmp_path, other)
    assert other.weight.dtype == wanted
    assert torch.equal(other.weight, one.weight.to(wanted))


def test_what_a_newer_version_added_to_a_model_is_not_read(tmp_path):
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    write_tensors(tmp_path / MODEL, dict(one.state_dict()), {"license": "MIT"})
    load_model(tmp_path, other)
    assert torch.equal(one.weight, other.weight)


def test_weights_that_share_memory_can_be_kept(tmp_path):
    tied = nn.ModuleList([nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)])
    tied[1].weight = tied[0].weight
    save_model(tmp_path, tied)
    load_model(tmp_path, nn.ModuleList([nn.Linear(2, 2, bias=False) for _ in range(2)]))


def test_a_model_that_is_missing_damaged_or_another_is_told(tmp_path):
    with pytest.raises(StoredFileError, match="move the run's folder away and train again"):
        load_model(tmp_path, nn.Linear(2, 1))
    save_model(tmp_path, nn.Linear(3, 1))
    with pytest.raises(StoredFileError, match="is of shape"):
        load_model(tmp_path, nn.Linear(2, 1))
    whole_numbers = {"weight": torch.ones(1, 2, dtype=torch.int32), "bias": torch.ones(1)}
    write_tensors(tmp_path / MODEL, whole_numbers, {})
    with pytest.raises(StoredFileError, match=r"weight is of torch.int32 there"):
        load_model(tmp_path, nn.Linear(2, 1))
    (tmp_path / MODEL).write_bytes(b"no")
    with pytest.raises(StoredFileError, match="a whole file of this run"):
        load_model(tmp_path, nn.Linear(2, 1))


def draw(*arguments):
    seed_step(*arguments)
    return torch.rand(4).tolist()


def test_the_random_state_is_a_function_of_seed_step_and_process():
    places = [(seed, step, process) for seed in (0, 1) for step in (1, 2) for process in (0, 1)]
    drawn = [draw(*place) for place in places]
    assert drawn == [draw(*place) for place in places]
    assert len({tuple(numbers) for numbers in drawn}) == len(places)
