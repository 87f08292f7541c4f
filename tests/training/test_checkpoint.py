import dataclasses
import errno
from pathlib import Path

import pytest
import torch
from torch import nn

from quatrain.insertion import insert
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import DataError, StoredFileError, StudyError
from quatrain.training import checkpoint, load_model, save_model
from quatrain.training.checkpoint import MODEL, NAME, Trained, seed_step
from quatrain.training.position import Position

POSITION = Position(step=3, batches=6, seconds=0.1, total=0.1 + 0.2, weight=7.0, since=1 / 3)


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


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_everything_comes_back_as_it_was(tmp_path):
    one, other = stepped(), trained()
    checkpoint.save(tmp_path, POSITION, one)
    assert checkpoint.load(tmp_path, other) == POSITION
    assert torch.equal(one.model.weight, other.model.weight)
    assert torch.equal(other.average["weight"], torch.full((1, 2), 0.5))
    assert other.scaler.state_dict() == one.scaler.state_dict()
    for index, state in one.optimizer.state_dict()["state"].items():
        restored = other.optimizer.state_dict()["state"][index]
        assert state.keys() == restored.keys()
        assert all(torch.equal(state[name], restored[name]) for name in state)


def test_a_folder_without_a_checkpoint_is_the_beginning(tmp_path):
    assert checkpoint.load(tmp_path, trained()) == Position()


@pytest.mark.parametrize("size", [0, 1, 7, 8, 100, 300, -1])
def test_a_checkpoint_cut_short_is_told_in_a_sentence(tmp_path, size):
    checkpoint.save(tmp_path, POSITION, stepped())
    path = tmp_path / NAME
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(
        StoredFileError, match=r"expected a whole file .*: delete this file"
    ) as told:
        checkpoint.load(tmp_path, trained())
    assert str(path) in str(told.value)
    assert "\n" not in str(told.value)


def test_any_byte_of_the_header_may_be_damaged_and_never_ends_in_another_error(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped())
    path = tmp_path / NAME
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    damaged = 0
    for at in range(0, header, 3):
        path.write_bytes(whole[:at] + b"\xf7" + whole[at + 1 :])
        with pytest.raises(StoredFileError):
            checkpoint.load(tmp_path, trained())
        damaged += 1
    assert damaged > 100


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(width=3))
    with pytest.raises(StoredFileError, match=r"weight is of shape|bias is of shape"):
        checkpoint.load(tmp_path, trained(width=2))


def test_a_checkpoint_of_a_model_without_the_mixer_is_refused(tmp_path):
    plain, mixed = (
        dataclasses.replace(trained(average=False), model=nn.Sequential(nn.Linear(4, 4)))
        for _ in range(2)
    )
    insert(mixed.model, parse_mixer("0010", heads=2), after="0", example=torch.zeros(1, 3, 4))
    mixed.model.load_state_dict(plain.model.state_dict())  # as users may
    checkpoint.save(tmp_path, POSITION, plain)
    with pytest.raises(StoredFileError, match="is in one of the two only"):
        checkpoint.load(tmp_path, mixed)
    save_model(tmp_path, plain.model)
    with pytest.raises(StoredFileError, match="is in one of the two only"):
        load_model(tmp_path, mixed.model)


def test_the_weight_of_another_shape_is_named_with_both(tmp_path):
    narrow, wide = (
        dataclasses.replace(trained(average=False), model=nn.Linear(4, width)) for width in (3, 5)
    )
    checkpoint.save(tmp_path, POSITION, narrow)
    with pytest.raises(StoredFileError, match=r"weight is of shape \(3, 4\) there and \(5, 4\)"):
        checkpoint.load(tmp_path, wide)


def test_a_checkpoint_without_the_average_that_is_wanted_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(average=False))
    with pytest.raises(StoredFileError):
        checkpoint.load(tmp_path, trained())


def test_a_checkpoint_trained_on_other_data_is_refused(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(data="a"))
    with pytest.raises(DataError, match='data is "rows", expected as it was when'):
        checkpoint.load(tmp_path, trained(data="b"))


def test_sgd_without_momentum_has_no_state_to_keep(tmp_path):
    checkpoint.save(tmp_path, POSITION, stepped(optimizer=torch.optim.SGD))
    assert checkpoint.load(tmp_path, trained(optimizer=torch.optim.SGD)) == POSITION


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace"])
def test_a_full_disk_is_told_and_leaves_the_former_checkpoint(tmp_path, monkeypatch, place):
    checkpoint.save(tmp_path, POSITION, stepped())
    before = (tmp_path / NAME).read_bytes()
    monkeypatch.setattr(place, full)
    with pytest.raises(StudyError, match='"No space left on device"; make room') as told:
        checkpoint.save(tmp_path, Position(), stepped())
    assert str(tmp_path) in str(told.value)
    assert isinstance(told.value.__cause__, OSError)
    assert [path.name for path in tmp_path.iterdir()] == [NAME]
    assert (tmp_path / NAME).read_bytes() == before


def test_a_real_full_device_is_told(tmp_path):
    if not Path("/dev/full").is_char_device():
        pytest.skip("this system has no /dev/full")
    (tmp_path / f".{NAME}.tmp").symlink_to("/dev/full")
    with pytest.raises(StudyError, match="No space left on device"):
        checkpoint.save(tmp_path, POSITION, stepped())
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_kept_alone_and_comes_back(tmp_path):
    one, other = nn.Linear(2, 1), nn.Linear(2, 1)
    save_model(tmp_path, one)
    load_model(tmp_path, other)
    assert torch.equal(one.weight, other.weight)
    assert [path.name for path in tmp_path.iterdir()] == [MODEL]


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
