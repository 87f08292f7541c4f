"""Checkpoints: one safetensors file, replaced by rename, read without executing code.

    model/<name>          parameters and buffers
    average/<name>        those of the EMA, if the recipe has one
    optimizer/<i>/<name>  optimizer state of parameter i
    header                JSON: training state (position), loss scale (scaler), SHA-256 of the data
                          (data); SHA-256 of the file, version of the file format

No random state is stored, because the loop seeds every step from the run's seed and the step.
The weights of a finished run are stored in the same way in model.safetensors.

The checksum detects damage. Names and shapes must match those of the training. Unknown fields of
the header are ignored; a file of a later format is refused.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from pydantic import FiniteFloat, TypeAdapter
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.results import CHECKPOINT as NAME
from quatrain.specs import DataError, StoredFileError
from quatrain.training.log import TrainingState
from quatrain.training.recipe import Recipe
from quatrain.weights import build_for, describe_misfits, misfits, read_tensors, write_tensors

M = TypeVar("M", bound=nn.Module)

MODEL = "model.safetensors"

_DAMAGE = (SafetensorError, KeyError, ValueError, OSError)
_STATE = TypeAdapter(TrainingState)
_SCALER = TypeAdapter(dict[str, int | FiniteFloat])
_HASHES = TypeAdapter(dict[str, str])
_LONGEST_REASON = 600


@dataclass(frozen=True)
class TrainingObjects:
    """The objects whose state a checkpoint contains, and the SHA-256 of the data files by name."""

    model: nn.Module
    optimizer: Optimizer
    average: nn.Module | None
    scaler: torch.amp.GradScaler
    data_hashes: dict[str, str]


def save(folder: Path, state: TrainingState, objects: TrainingObjects) -> None:
    """Replace the folder's checkpoint; a process killed here leaves the previous one."""
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

    Raises a StoredFileError if the file is damaged, of a newer version of quatrain, or of another
    model or recipe; a DataError if the data have changed.
    """
    path = folder / NAME
    if not path.exists():
        return TrainingState()
    try:
        tensors, texts = read_tensors(path)
        state = _STATE.validate_json(texts["position"])
        if state.step > recipe.steps:
            raise ValueError(f"it is of step {state.step}, and the training ends at {recipe.steps}")
        scaler = _SCALER.validate_json(texts["scaler"])
        data_hashes = _HASHES.validate_json(texts["data"])
        parts: dict[str, dict[str, Tensor]] = {"model": {}, "average": {}, "optimizer": {}}
        for name, value in tensors.items():
            part, _, rest = name.partition("/")
            parts[part][rest] = value
        _check_tensors(parts["average"], _weights(objects.average))
        _check_names(scaler, objects.scaler.state_dict())
        _load_weights(objects.model, parts["model"])
        _restore_optimizer(objects.optimizer, parts["optimizer"])
    except _DAMAGE as error:
        raise _damaged(path, error, "delete this file to train from the beginning") from error
    if objects.average is not None:
        objects.average.load_state_dict(parts["average"])
    objects.scaler.load_state_dict(scaler)
    names = {*data_hashes, *objects.data_hashes}
    changed = {name for name in names if data_hashes.get(name) != objects.data_hashes.get(name)}
    if changed:
        raise DataError(
            f"{', '.join(sorted(changed))} changed after {path} was written; restore the former "
            "files, or move the run's folder away to train on these",
            "data",
        )
    return state


def save_model(folder: Path, model: nn.Module) -> None:
    """Write the model's weights to model.safetensors in the folder, atomically.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    write_tensors(folder / MODEL, model.state_dict(), {})


def hash_of_weights(model: nn.Module) -> str:
    """SHA-256 of all parameters, in hexadecimal: equal for models that are equal to the bit."""
    digest = hashlib.sha256()
    for weight in model.parameters():
        digest.update(_content(weight))
    return digest.hexdigest()


def hashes_of_tensors(model: nn.Module) -> dict[str, str]:
    """SHA-256 of each tensor of the model's state_dict by name, in hexadecimal."""
    named = model.state_dict().items()
    return {name: hashlib.sha256(_content(tensor)).hexdigest() for name, tensor in named}


def _content(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().tobytes()


def load_model(folder: Path, model: nn.Module) -> None:
    """Load the weights that `save_model` wrote, converted to the model's floating-point types.

    Raises:
        StoredFileError: if the file is missing, damaged, written by a newer version of quatrain,
            or of another model.
    """
    path = folder / MODEL
    try:
        tensors, _ = read_tensors(path)
        _load_weights(model, tensors)
    except _DAMAGE as error:
        raise _damaged(path, error, "move the run's folder away and train again") from error


def build_model(folder: Path, build: Callable[[], M]) -> M:
    """The module that `build` creates, with the weights that `save_model` wrote.

    The weights are compared with a module without memory for its values first, so a spec of unknown
    origin cannot fill the memory.

    Raises:
        StoredFileError: as `load_model`.
    """
    path = folder / MODEL
    try:
        tensors, _ = read_tensors(path)
        model = build_for(tensors, build)
        _load_weights(model, tensors)
    except _DAMAGE as error:
        raise _damaged(path, error, "move the run's folder away and train again") from error
    return model


def _weights(module: nn.Module | None) -> dict[str, Tensor]:
    return {} if module is None else module.state_dict()


def _load_weights(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load weights whose names match exactly; modules with mixers accept others too."""
    _check_tensors(tensors, model.state_dict())
    model.load_state_dict(tensors)


def _restore_optimizer(optimizer: Optimizer, tensors: dict[str, Tensor]) -> None:
    """Restore each parameter's state; torch itself would accept any shape."""
    members = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    parameters = dict(enumerate(members))
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        index, _, key = name.partition("/")
        if key != "step":
            _check_tensors({name: value}, {name: parameters[int(index)]})
        state.setdefault(int(index), {})[key] = value
    optimizer.load_state_dict({**optimizer.state_dict(), "state": state})


def _check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> None:
    """Check that names, shapes and kinds of types are those of this training."""
    problems = misfits(tensors, expected)
    if problems:
        raise ValueError(describe_misfits(problems))


def _check_names(names: Mapping[str, object], expected: Mapping[str, object]) -> None:
    for name in sorted(expected.keys() - names.keys()):
        raise ValueError(f"{name} is missing from the file")
    for name in sorted(names.keys() - expected.keys()):
        raise ValueError(f"{name} is in the file and not in this training")


def _damaged(path: Path, error: Exception, remedy: str) -> StoredFileError:
    reason = " ".join(str(error).split())[:_LONGEST_REASON].rstrip(".") or type(error).__name__
    return StoredFileError(
        f"{path} is not an undamaged file of this run ({reason}); {remedy}", str(path)
    )
