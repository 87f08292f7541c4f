"""The fingerprint of a task's objective: equal for tasks that compute the same function.

    fingerprint(task, "cpu")        # (2.3061..., 2.8190..., 2.1748...)

An ablation that has no effect, for example because a field of its spec is never read, trains as
well as the full model, and a table does not show why. Fingerprints compare functions instead: all
parameters get random values that depend on nothing but their names, so that tasks agree in the
parameters that they share, and parameters that start at zero, such as the scale of a residual
branch, hide nothing. The numbers are losses on the first training batch. The example batch of a
task would not do: that of translation repeats one token, to which all keys are alike. A task with a
training loop of its own has no batches: there they are mean squares of the output for its example.
"""

import hashlib
import math
import random
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

from quatrain.results.record import LARGEST
from quatrain.training.task import Loss, Task

DRAWS = 3
"""Draws of the parameters; two functions that differ agree in all of them by chance only."""


@torch.no_grad()
def fingerprint(task: Task, device: str) -> tuple[float, ...] | None:
    """Mean losses of a new objective in evaluation mode, one for each draw of its parameters.

    Parameters are normal, with variance 1 / inputs for weights, and 1 for embeddings, vectors and
    scalars. Buffers, such as the statistics of batch normalization, keep their initial values. The
    random states of torch, numpy and Python are restored. None if all numbers of the batch are
    equal, as in an example of zeros, for which unlike functions may be equal.

    Raises:
        ArithmeticError: if a loss is too large for a record, or not a number.
    """
    with _restored_random_states(torch.device(device)):
        objective = task.build().to(device).eval()
        batch = {name: _moved(value, device) for name, value in _batch(task).items()}
        if all(_is_constant(value) for value in batch.values()):
            return None
        losses = [_loss(objective, batch, draw) for draw in range(DRAWS)]
    if not all(abs(loss) <= LARGEST for loss in losses):
        raise ArithmeticError(f"the losses for random parameters are {losses}")
    return tuple(losses)


def draw_parameters(module: nn.Module, draw: int) -> None:
    """Set each parameter to random values that depend on its name, its shape and `draw`."""
    rows = {part.weight for part in module.modules() if isinstance(part, nn.Embedding)}
    for name, parameter in module.named_parameters():
        digest = hashlib.sha256(f"{draw}/{name}".encode()).digest()
        generator = torch.Generator().manual_seed(int.from_bytes(digest[:7]))
        is_weight = parameter.ndim > 1 and parameter not in rows
        inputs = math.prod(parameter.shape[1:]) if is_weight else 1
        values = torch.randn(parameter.shape, generator=generator) / max(inputs, 1) ** 0.5
        parameter.data.copy_(values)


def _batch(task: Task) -> Mapping[str, Any]:
    has_batches = hasattr(task, "batches")
    return task.collate(task.batches(0)[0]) if has_batches else task.example_batch()


def _is_constant(value: object) -> bool:
    return (
        not isinstance(value, Tensor)
        or not value.numel()
        or bool((value == value.flatten()[0]).all())
    )


def _moved(value: Any, device: str) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def _loss(objective: nn.Module, batch: dict[str, Any], draw: int) -> float:
    draw_parameters(objective, draw)
    torch.manual_seed(draw)  # for samples that an objective draws, such as a detector's regions
    output = objective(**batch)
    if isinstance(output, Loss):
        return float(output.total) / float(output.weight)
    leaves = (leaf for leaf in pytree.tree_leaves(output) if isinstance(leaf, Tensor))
    return sum(float(leaf.double().square().mean()) for leaf in leaves if leaf.numel())


@contextmanager
def _restored_random_states(device: torch.device) -> Iterator[None]:
    python, numpy = random.getstate(), np.random.get_state()  # noqa: NPY002 - the global state
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numpy)  # noqa: NPY002
