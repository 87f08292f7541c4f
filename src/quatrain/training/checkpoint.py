"""Checkpoints: one safetensors file, replaced by rename, read without executing anything.

    model/<name>          parameters and buffers
    average/<name>        their moving average, where there is one
    optimizer/<i>/<name>  optimizer state of parameter i
    header                JSON: position, loss scale, SHA-256 of the data

There is no random state to keep: the loop seeds every step from the run's seed and the step.
The trained model alone is kept the same way, in a file that outlives the checkpoint.
"""

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.results.files import make_folder, unwritable
from quatrain.specs import DataError, StoredFileError
from quatrain.training.position import Position

NAME = "checkpoint.safetensors"
MODEL = "model.safetensors"

_DAMAGE = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError)


@dataclass(frozen=True)
class Trained:
    """What training changes and a checkpoint keeps; `data` says what it was trained on."""

    model: nn.Module
    optimizer: Optimizer
    average: dict[str, Tensor]
    scaler: torch.amp.GradScaler
    data: dict[str, str]


def save(folder: Path, position: Position, trained: Trained) -> None:
    """Replace the folder's checkpoint; a kill in the middle leaves the one from before.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in trained.model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in trained.average.items()}
    for index, state in trained.optimizer.state_dict()["state"].items():
        kept = {name: value for name, value in state.items() if value is not None}
        tensors |= {f"optimizer/{index}/{name}": value for name, value in kept.items()}
    header = {
        "position": vars(position),
        "scaler": trained.scaler.state_dict(),
        "data": trained.data,
    }
    _write(folder / NAME, tensors, {name: json.dumps(value) for name, value in header.items()})


def load(folder: Path, trained: Trained) -> Position:
    """Restore everything in place from the folder's checkpoint; position 0 where there is none.

    Raises:
        StoredFileError: if the file is damaged or belongs to another model.
        DataError: if the data are no longer those that the checkpoint was trained on.
    """
    path = folder / NAME
    if not path.exists():
        return Position()
    try:
        tensors, texts = _read(path)
        header = {name: json.loads(text) for name, text in texts.items()}
        position, data, scale = Position(**header["position"]), header["data"], header["scaler"]
        parts = {part: _part(tensors, part) for part in ("model", "average", "optimizer")}
        _load_weights(trained.model, parts["model"])
        for name, value in trained.average.items():
            value.copy_(parts["average"][name])
        _restore_optimizer(trained.optimizer, parts["optimizer"])
        if scale:
            trained.scaler.load_state_dict(scale)
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error, "delete this file to train from the beginning") from error
    _check_data(path, data, trained.data)
    return position


def save_model(folder: Path, model: nn.Module) -> None:
    """Write the model's weights into the folder, whole or not at all.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    _write(folder / MODEL, model.state_dict(), {})


def load_model(folder: Path, model: nn.Module) -> None:
    """Put the weights that `save_model` wrote into `model`.

    Raises:
        StoredFileError: if there are none, or they are damaged or those of another model.
    """
    path = folder / MODEL
    try:
        _load_weights(model, _read(path)[0])
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error, "move the run's folder away and train again") from error


def seed_step(seed: int, step: int, process: int) -> None:
    """Set torch's random state to a function of the run's seed, the step and the process."""
    mixed = (seed * 1_000_003 + step) * 8191 + process
    torch.manual_seed(mixed % (2**63))


def _write(path: Path, tensors: dict[str, Tensor], header: dict[str, str]) -> None:
    # Always the same temporary name: what a kill left behind is overwritten the next time.
    temporary = path.with_name(f".{path.name}.tmp")
    make_folder(path.parent)
    content = to_bytes(_separate(tensors), metadata=header)
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # the first error is the one to tell
            temporary.unlink()
        raise unwritable(path.parent, error) from error


def _load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """All weights, and no others: a model with mixers in it takes those of the plain one too."""
    wanted = model.state_dict()
    odd = sorted(tensors.keys() ^ wanted.keys())
    if odd:
        raise ValueError(f"{odd[0]} is in one of the two only")
    for name, value in wanted.items():
        found, own = tuple(tensors[name].shape), tuple(value.shape)
        if found != own:
            raise ValueError(f"{name} is of shape {found} there and {own} in this model")
    model.load_state_dict(tensors)


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, since the format refuses tensors that share memory."""
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}


def _read(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118


def _part(tensors: dict[str, Tensor], part: str) -> dict[str, Tensor]:
    prefix = f"{part}/"
    return {name[len(prefix) :]: tensors[name] for name in tensors if name.startswith(prefix)}


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        state.setdefault(int(index), {})[key] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _damaged(path: Path, error: Exception, remedy: str) -> StoredFileError:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return StoredFileError(path.stem, str(path), f"a whole file of this run ({reason})", remedy)


def _check_data(path: Path, then: Any, now: dict[str, str]) -> None:
    if then == now:
        return
    changed = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    raise DataError(
        "data",
        ", ".join(changed),
        f"as it was when {path} was written",
        "bring the former files back, or move the run's folder away to train on these",
    )
