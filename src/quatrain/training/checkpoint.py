"""Checkpoints: one safetensors file, replaced by rename, read without executing anything.

    model/<name>          parameters and buffers
    average/<name>        their moving average, where there is one
    optimizer/<i>/<name>  optimizer state of parameter i
    header                JSON: position, loss scale, SHA-256 of the data; SHA-256 of the file,
                          version of this format

There is no random state to keep: the loop seeds every step from the run's seed and the step.
The trained model alone is kept the same way, in a file that outlives the checkpoint.

A file that is not what was written is refused by its checksum. One from before there was a
checksum is held, as every other, to the names, types and shapes of the training at hand. Texts of
the header that this version does not know are ignored; a file of a later format is refused.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.specs import DataError, StoredFileError
from quatrain.training.recipe import Recipe
from quatrain.training.state import TrainingState
from quatrain.training.tensor_file import read_tensors, write_tensors

NAME = "checkpoint.safetensors"
MODEL = "model.safetensors"

_DAMAGE = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError)
_HEADER = frozenset({"position", "scaler", "data"})
_POSITION = TypeAdapter(TrainingState)
_DATA = TypeAdapter(dict[str, str])
_SCALE = TypeAdapter(dict[str, float])

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class Trained:
    """What training changes and a checkpoint keeps; `data` says what it was trained on."""

    model: nn.Module
    optimizer: Optimizer
    average: dict[str, Tensor]
    scaler: torch.amp.GradScaler
    data: dict[str, str]


def save(folder: Path, position: TrainingState, trained: Trained) -> None:
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
    texts = {name: json.dumps(value) for name, value in header.items()}
    write_tensors(folder / NAME, tensors, texts)


def load(folder: Path, trained: Trained, recipe: Recipe) -> TrainingState:
    """Restore everything in place from the folder's checkpoint; position 0 where there is none.

    Raises:
        StoredFileError: if the file is damaged, written by a newer version of quatrain, or belongs
            to another model or recipe.
        DataError: if the data are no longer those that the checkpoint was trained on.
    """
    path = folder / NAME
    if not path.exists():
        return TrainingState()
    try:
        tensors, texts = read_tensors(path)
        _same_names(texts.keys() & _HEADER, _HEADER)
        position = _position(texts["position"], recipe)
        data = _parsed(_DATA, texts, "data")
        parts = _parts(tensors)
        _load_weights(trained.model, parts["model"])
        _same_tensors(parts["average"], trained.average)
        for name, value in trained.average.items():
            value.copy_(parts["average"][name])
        _restore_optimizer(trained.optimizer, parts["optimizer"], position)
        _restore_scaler(trained.scaler, _parsed(_SCALE, texts, "scaler"))
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
    write_tensors(folder / MODEL, model.state_dict(), {})


def load_model(folder: Path, model: nn.Module) -> None:
    """Put the weights that `save_model` wrote into `model`, converted to its floating types.

    Raises:
        StoredFileError: if there are none, or they are damaged, written by a newer version of
            quatrain, or those of another model.
    """
    path = folder / MODEL
    try:
        tensors, _ = read_tensors(path)
        _load_weights(model, tensors, convert=True)
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error, "move the run's folder away and train again") from error


def seed_step(seed: int, step: int, process: int) -> None:
    """Set torch's random state to a function of the run's seed, the step and the process."""
    mixed = (seed * 1_000_003 + step) * 8191 + process
    torch.manual_seed(mixed % (2**63))


def _position(text: str, recipe: Recipe) -> TrainingState:
    """Where the training stood, which a training by this recipe can reach."""
    position = _parsed(_POSITION, {"position": text}, "position")
    if position.step > recipe.steps:
        raise ValueError(f"step {position.step} of a training of {recipe.steps}")
    if position.batches != position.step * recipe.accumulate:
        wanted = f"{position.step} steps of {recipe.accumulate}"
        raise ValueError(f"{position.batches} batches after {wanted}")
    if position.since > position.seconds:
        raise ValueError(f"{position.since} of {position.seconds} seconds")
    return position


def _parsed(adapter: TypeAdapter[Parsed], texts: dict[str, str], name: str) -> Parsed:
    """The JSON of that name, of just those types."""
    try:
        return adapter.validate_json(texts[name], strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join([name, *map(str, problem["loc"])])
        raise ValueError(f"{place}: {problem['msg']}") from None


def _parts(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint by what they belong to."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return parts


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], *, convert: bool = False) -> None:
    """All weights, and no others: a model with mixers in it takes those of the plain one too."""
    _same_tensors(tensors, model.state_dict(), convert=convert)
    model.load_state_dict(tensors)


def _same_tensors(
    tensors: dict[str, Tensor], wanted: dict[str, Tensor], *, convert: bool = False
) -> None:
    _same_names(tensors, wanted)
    for name, value in wanted.items():
        stored = tensors[name]
        convertible = convert and stored.is_floating_point() and value.is_floating_point()
        dtype = stored.dtype if convertible else value.dtype
        _same_kind(name, stored, tuple(value.shape), dtype)


def _same_names(names: Iterable[str], wanted: Iterable[str]) -> None:
    missing, unknown = sorted({*wanted} - {*names}), sorted({*names} - {*wanted})
    if missing:
        raise ValueError(f"{missing[0]} is missing from the file")
    if unknown:
        raise ValueError(f"{unknown[0]} is in the file and not in this training")


def _same_kind(name: str, found: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(found.shape) != shape:
        raise ValueError(f"{name} is of shape {tuple(found.shape)} there and {shape} in this model")
    if found.dtype != dtype:
        raise ValueError(f"{name} is of {found.dtype} there and {dtype} in this model")


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor], at: TrainingState) -> None:
    """The state of each parameter; torch itself would take one of any shape and type."""
    groups = optimizer.state_dict()["param_groups"]
    members = [each for group in optimizer.param_groups for each in group["params"]]
    owners = {str(index): each for index, each in enumerate(members)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        if index not in owners:
            raise ValueError(f"{name} belongs to no parameter of this model")
        owner = owners[index]
        if key == "step":
            _same_kind(name, value, (), value.dtype)
            if not 0 <= float(value) <= at.step:
                raise ValueError(f"{name} is {float(value)} after step {at.step}")
        else:
            _same_kind(name, value, tuple(owner.shape), owner.dtype)
        state.setdefault(int(index), {})[key] = value
    if len({frozenset(kept) for kept in state.values()}) > 1:
        raise ValueError("the optimizer state of some parameters is not whole")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _restore_scaler(scaler: torch.amp.GradScaler, state: dict[str, float]) -> None:
    """The loss scale and its age; all else of it is this training's own."""
    own = scaler.state_dict()
    _same_names(state, own)
    if not own:
        return
    scale, age = state["scale"], state["_growth_tracker"]
    wanted = {**own, "scale": scale, "_growth_tracker": age}
    possible = 0 < scale < math.inf and 0 <= age <= own["growth_interval"] and age % 1 == 0
    if state != wanted or not possible:
        raise ValueError("the state of the loss scale is impossible in this training")
    scaler.load_state_dict({**own, "scale": scale, "_growth_tracker": int(age)})


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
