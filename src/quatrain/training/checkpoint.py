"""Checkpoints: one safetensors file, replaced by rename, read without executing code.

    model/<name>          parameters and buffers
    average/<name>        those of the EMA, if the recipe has one
    optimizer/<i>/<name>  optimizer state of parameter i
    header                JSON: training state (position), loss scale (scaler), SHA-256 of the data
                          (data); SHA-256 of the file, version of the file format

No random state is stored, because the loop seeds every step from the run's seed and the step.
The weights of a finished run are stored in the same way in model.safetensors.

The checksum detects damage. Names, types and shapes must match those of the training as well, also
in files of versions without a checksum. Unknown fields of the header are ignored; a file of a later
format is refused.
"""

import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.results import CHECKPOINT as NAME
from quatrain.specs import DataError, StoredFileError
from quatrain.training.recipe import Recipe
from quatrain.training.state import TrainingState
from quatrain.training.tensor_file import read_tensors, write_tensors

MODEL = "model.safetensors"

_DAMAGE = (SafetensorError, KeyError, ValueError, TypeError, AttributeError, RuntimeError, OSError)
_HEADER = frozenset({"position", "scaler", "data"})
_STATE = TypeAdapter(TrainingState)
_DATA = TypeAdapter(dict[str, str])
_SCALE = TypeAdapter(dict[str, float])

Parsed = TypeVar("Parsed")


@dataclass(frozen=True)
class TrainingObjects:
    """The objects whose state a checkpoint holds, and the SHA-256 of the data files by name."""

    model: nn.Module
    optimizer: Optimizer
    average: nn.Module | None
    scaler: torch.amp.GradScaler
    data_hashes: dict[str, str]


def save(folder: Path, state: TrainingState, objects: TrainingObjects) -> None:
    """Replace the folder's checkpoint; a process killed here leaves the previous one.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    tensors = {f"model/{name}": value for name, value in objects.model.state_dict().items()}
    average = _weights(objects.average)
    tensors |= {f"average/{name}": value for name, value in average.items()}
    for index, values in objects.optimizer.state_dict()["state"].items():
        stored = {name: value for name, value in values.items() if value is not None}
        tensors |= {f"optimizer/{index}/{name}": value for name, value in stored.items()}
    header = {
        "position": vars(state),
        "scaler": objects.scaler.state_dict(),
        "data": objects.data_hashes,
    }
    texts = {name: json.dumps(value) for name, value in header.items()}
    write_tensors(folder / NAME, tensors, texts)


def load(folder: Path, objects: TrainingObjects, recipe: Recipe) -> TrainingState:
    """Restore all objects in place from the folder's checkpoint; step 0 if there is none.

    Raises:
        StoredFileError: if the file is damaged, written by a newer version of quatrain, or belongs
            to another model or recipe.
        DataError: if the data have changed since the checkpoint.
    """
    path = folder / NAME
    if not path.exists():
        return TrainingState()
    try:
        tensors, texts = read_tensors(path)
        _check_names(texts.keys() & _HEADER, _HEADER)
        state = _parse_state(texts, recipe)
        data_hashes = _parse(_DATA, texts, "data")
        parts = _split(tensors)
        _load_weights(objects.model, parts["model"])
        _check_tensors(parts["average"], _weights(objects.average))
        if objects.average is not None:
            objects.average.load_state_dict(parts["average"])
        _restore_optimizer(objects.optimizer, parts["optimizer"], state)
        _restore_scaler(objects.scaler, _parse(_SCALE, texts, "scaler"))
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error, "delete this file to train from the beginning") from error
    _check_data(path, data_hashes, objects.data_hashes)
    return state


def save_model(folder: Path, model: nn.Module) -> None:
    """Write the model's weights to model.safetensors in the folder, atomically.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    write_tensors(folder / MODEL, model.state_dict(), {})


def load_model(folder: Path, model: nn.Module) -> None:
    """Load the weights that `save_model` wrote, converted to the model's floating-point types.

    Raises:
        StoredFileError: if the file is missing, damaged, written by a newer version of quatrain,
            or of another model.
    """
    path = folder / MODEL
    try:
        tensors, _ = read_tensors(path)
        _load_weights(model, tensors, convert=True)
    except torch.OutOfMemoryError:
        raise
    except _DAMAGE as error:
        raise _damaged(path, error, "move the run's folder away and train again") from error


def _parse_state(texts: dict[str, str], recipe: Recipe) -> TrainingState:
    """The training state, if a training by this recipe can reach it."""
    state = _parse(_STATE, texts, "position")
    if state.step > recipe.steps:
        raise ValueError(f"step {state.step} of a training of {recipe.steps}")
    if state.batches != state.step * recipe.accumulate:
        steps = f"{state.step} steps of {recipe.accumulate}"
        raise ValueError(f"{state.batches} batches after {steps}")
    if state.since > state.seconds:
        raise ValueError(f"{state.since} of {state.seconds} seconds")
    return state


def _parse(adapter: TypeAdapter[Parsed], texts: dict[str, str], name: str) -> Parsed:
    """Parse the JSON text `name` strictly."""
    try:
        return adapter.validate_json(texts[name], strict=True)
    except ValidationError as error:
        problem = error.errors(include_input=False, include_url=False)[0]
        place = ".".join([name, *map(str, problem["loc"])])
        raise ValueError(f"{place}: {problem['msg']}") from None


def _split(tensors: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of a checkpoint by the first part of their names."""
    parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
    for name, value in tensors.items():
        part, _, rest = name.partition("/")
        parts[part][rest] = value
    return parts


def _weights(module: nn.Module | None) -> dict[str, Tensor]:
    return {} if module is None else module.state_dict()


def _load_weights(model: nn.Module, tensors: dict[str, Tensor], *, convert: bool = False) -> None:
    """Load weights whose names match exactly; modules with mixers accept others too."""
    _check_tensors(tensors, model.state_dict(), convert=convert)
    model.load_state_dict(tensors)


def _check_tensors(
    tensors: dict[str, Tensor], expected: dict[str, Tensor], *, convert: bool = False
) -> None:
    """Check names, shapes and types; with `convert`, any floating-point type will do."""
    _check_names(tensors, expected)
    for name, value in expected.items():
        stored = tensors[name]
        convertible = convert and stored.is_floating_point() and value.is_floating_point()
        dtype = stored.dtype if convertible else value.dtype
        _check_tensor(name, stored, tuple(value.shape), dtype)


def _check_names(names: Iterable[str], expected: Iterable[str]) -> None:
    missing, unknown = sorted({*expected} - {*names}), sorted({*names} - {*expected})
    if missing:
        raise ValueError(f"{missing[0]} is missing from the file")
    if unknown:
        raise ValueError(f"{unknown[0]} is in the file and not in this training")


def _check_tensor(name: str, stored: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    if tuple(stored.shape) != shape:
        raise ValueError(
            f"{name} has shape {tuple(stored.shape)} in the file and {shape} in this model"
        )
    if stored.dtype != dtype:
        raise ValueError(f"{name} is {stored.dtype} in the file and {dtype} in this model")


def _restore_optimizer(
    optimizer: Optimizer, tensors: dict[str, Tensor], training: TrainingState
) -> None:
    """Restore each parameter's state; torch itself would accept any shape and type."""
    groups = optimizer.state_dict()["param_groups"]
    members = [each for group in optimizer.param_groups for each in group["params"]]
    parameters = {str(index): each for index, each in enumerate(members)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        if index not in parameters:
            raise ValueError(f"{name} belongs to no parameter of this model")
        parameter = parameters[index]
        if key == "step":
            _check_tensor(name, value, (), value.dtype)
            if not 0 <= float(value) <= training.step:
                raise ValueError(f"{name} is {float(value)} after step {training.step}")
        else:
            _check_tensor(name, value, tuple(parameter.shape), parameter.dtype)
        state.setdefault(int(index), {})[key] = value
    if len({frozenset(values) for values in state.values()}) > 1:
        raise ValueError("the optimizer state of some parameters is incomplete")
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def _restore_scaler(scaler: torch.amp.GradScaler, state: dict[str, float]) -> None:
    """Restore the loss scale and its growth tracker; the other values must be equal."""
    own = scaler.state_dict()
    _check_names(state, own)
    if not own:
        return
    scale, tracker = state["scale"], state["_growth_tracker"]
    expected = {**own, "scale": scale, "_growth_tracker": tracker}
    in_range = 0 < scale < math.inf and 0 <= tracker <= own["growth_interval"]
    if state != expected or not in_range or tracker % 1 != 0:
        raise ValueError("the state of the loss scale is impossible in this training")
    scaler.load_state_dict({**own, "scale": scale, "_growth_tracker": int(tracker)})


def _damaged(path: Path, error: Exception, remedy: str) -> StoredFileError:
    reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
    return StoredFileError(
        path.stem, str(path), f"an undamaged file of this run ({reason})", remedy
    )


def _check_data(path: Path, stored: dict[str, str], current: dict[str, str]) -> None:
    if stored == current:
        return
    changed = sorted(name for name in {*stored, *current} if stored.get(name) != current.get(name))
    raise DataError(
        "data",
        ", ".join(changed),
        f"the content it had when {path} was written",
        "restore the former files, or move the run's folder away to train on these",
    )
