"""Checkpoints: one safetensors file, replaced by rename, read without executing anything.

    model/<name>          parameters and buffers
    average/<name>        their moving average, where there is one
    optimizer/<i>/<name>  optimizer state of parameter i
    header                JSON: step, seconds, epoch position

There is no random state to keep: the loop seeds every step from the run's seed and the step.
"""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.optim import Optimizer

from quatrain.specs import StoredFileError

NAME = "checkpoint.safetensors"


@dataclass(frozen=True)
class Position:
    """Where a training stood: steps done, batches consumed by all processes, seconds spent."""

    step: int = 0
    batches: int = 0
    seconds: float = 0.0


def save(
    folder: Path,
    position: Position,
    model: nn.Module,
    optimizer: Optimizer,
    average: dict[str, Tensor],
) -> None:
    """Replace the folder's checkpoint; a kill in the middle leaves the one from before."""
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average/{name}": value for name, value in average.items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in state.items()}
    header = {"position": json.dumps(vars(position))}
    written = folder / f".{NAME}.{os.getpid()}"
    try:
        save_file(_separate(tensors), written, metadata=header)
        written.replace(folder / NAME)
    finally:
        written.unlink(missing_ok=True)


def load(
    folder: Path, model: nn.Module, optimizer: Optimizer, average: dict[str, Tensor]
) -> Position:
    """Restore everything in place from the folder's checkpoint; position 0 where there is none.

    Raises:
        StoredFileError: if the file is damaged or belongs to another model.
    """
    path = folder / NAME
    if not path.exists():
        return Position()
    try:
        tensors, header = _read(path)
        position = Position(**json.loads(header["position"]))
        parts = {part: _part(tensors, part) for part in ("model", "average", "optimizer")}
        model.load_state_dict(parts["model"])
        for name, value in average.items():
            value.copy_(parts["average"][name])
        _restore_optimizer(optimizer, parts["optimizer"])
    except (SafetensorError, KeyError, ValueError, TypeError, RuntimeError) as error:
        reason = str(error).splitlines()[0]
        raise StoredFileError(
            "checkpoint",
            str(path),
            f"a whole checkpoint of this run ({reason})",
            "delete this file to train the run from its beginning",
        ) from error
    return position


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


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}


def seed_step(seed: int, step: int, process: int) -> None:
    """Set torch's random state to a function of the run's seed, the step and the process."""
    mixed = (seed * 1_000_003 + step) * 8191 + process
    torch.manual_seed(mixed % (2**63))
