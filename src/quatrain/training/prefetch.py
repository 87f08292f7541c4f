"""Prefetching: worker processes collate batches ahead of the training.

    plans  ->  worker 1: collate  ->                       in the order of the plans, whichever
    plans  ->  worker 2: collate  ->  (pinned memory)  ->  worker was first

A batch is a pure function of its plan, so the number of workers changes no result.
"""

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from importlib.machinery import PathFinder
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quatrain.specs import StudyError

Batch = Mapping[str, Tensor]


class _Batches(Dataset[Any]):
    """Batches by plan. Errors are returned, because a DataLoader would wrap them in another."""

    def __init__(self, collate: Callable[[Any], Batch]) -> None:
        self.collate = collate

    def __getitem__(self, plan: Any) -> Batch | Exception:
        try:
            return self.collate(plan)
        except Exception as error:
            return _picklable(error)


def prefetch(
    collate: Callable[[Any], Batch], plans: Iterable[Any], *, num_workers: int, pin: bool
) -> Generator[Batch]:
    """Yield the batch of each plan, collated by `num_workers` processes, or by this one if 0.

    Pinned memory is copied to a GPU while the GPU computes; only workers pin. An error of
    `collate` is raised when its batch is due.
    """
    if num_workers == 0:
        yield from map(collate, plans)
        return
    method = worker_start_method(num_workers)
    if method is None:
        _check_picklable(collate, num_workers)
    loader = DataLoader(
        _Batches(collate),
        batch_size=None,
        sampler=plans,
        num_workers=num_workers,
        multiprocessing_context=method,
        pin_memory=pin,
        generator=torch.Generator(),  # the default would draw from the training's own
    )
    for batch in loader:
        if isinstance(batch, Exception):
            raise batch
        yield batch


def worker_start_method(num_workers: int) -> str | None:
    """The start method of worker processes: "fork", or None for Python's default.

    A forked worker has the classes of a study file, which another process could not import. On
    systems other than Linux where Python does not fork by default, as macOS, forking is unsafe.
    """
    methods = multiprocessing.get_all_start_methods()  # the first is the system's default
    if sys.platform != "linux" and methods[0] != "forkserver":
        return None
    if "fork" not in methods:
        raise _unavailable(num_workers, "this system cannot fork processes")
    return "fork"


def _check_picklable(collate: Callable[[Any], Batch], num_workers: int) -> None:
    """Check that a process that does not share this one's memory can receive the task."""
    if multiprocessing.get_start_method() == "fork":
        return
    reason = None
    try:
        pickle.dumps(collate)
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        reason = str(error)
    owner = getattr(collate, "__self__", None)
    module = collate.__module__ if owner is None else type(owner).__module__
    if module != "__main__" and PathFinder.find_spec(module.partition(".")[0]) is None:
        reason = f"another process cannot import the module {module}"
    if reason:
        raise _unavailable(
            num_workers, f"processes are not forked and the task cannot be pickled ({reason})"
        )


def _unavailable(num_workers: int, reason: str) -> StudyError:
    return StudyError(
        f"num_workers={num_workers} is impossible, as {reason}; leave --num-workers out",
        "num_workers",
    )


def _picklable(error: Exception) -> Exception:
    """The error, or a RuntimeError with its message if it cannot be pickled."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - bytes of the line itself
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
