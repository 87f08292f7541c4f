"""Batches made ahead of the training, by processes of their own.

    plans  ->  reader 1: collate  ->                       in the order of the plans, whichever
    plans  ->  reader 2: collate  ->  (pinned memory)  ->  reader was first

A batch is a function of its plan alone, so readers change when it is there and never what it is.
"""

import multiprocessing
import pickle
import sys
from collections.abc import Callable, Generator, Iterable, Mapping
from importlib.machinery import PathFinder
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from quatrain.specs import StudyError

Batch = Mapping[str, Tensor]


class _Failed(NamedTuple):
    """What a reader ran into, on its way to the process that trains."""

    error: Exception


class _Collated(Dataset[Any]):
    """Batches by plan. An error is handed over, for a loader would wrap it in another."""

    def __init__(self, collate: Callable[[Any], Batch]) -> None:
        self.collate = collate

    def __getitem__(self, plan: Any) -> Batch | _Failed:
        try:
            return self.collate(plan)
        except Exception as error:
            return _Failed(_portable(error))


def read(
    collate: Callable[[Any], Batch], plans: Iterable[Any], *, readers: int, pin: bool
) -> Generator[Batch]:
    """The batch of each plan, made by `readers` processes, or here and on demand by none of them.

    Pinned memory is copied to a GPU while that computes; only readers pin.

    Raises:
        StudyError: if readers cannot be started here.
        Exception: whatever `collate` raised, when that batch is asked for.
    """
    if readers == 0:
        yield from map(collate, plans)
        return
    method = reader_start_method(readers)
    if method is None:
        _refuse_unportable(collate, readers)
    loader = DataLoader(
        _Collated(collate),
        batch_size=None,
        sampler=plans,
        num_workers=readers,
        multiprocessing_context=method,
        collate_fn=_unchanged,
        pin_memory=pin,
        generator=torch.Generator(),  # else it would draw from the training's own
    )
    for batch in loader:
        if isinstance(batch, _Failed):
            raise batch.error
        yield batch


def reader_start_method(readers: int) -> str | None:
    """How readers are started: "fork", or None for Python's default.

    A forked reader has the classes of a study file, which another could not import. On systems
    other than Linux where Python does not fork by default, as macOS, forking is unsafe.

    Raises:
        StudyError: if processes should be forked and cannot be.
    """
    methods = multiprocessing.get_all_start_methods()  # the first is the system's default
    if sys.platform != "linux" and methods[0] != "forkserver":
        return None
    if "fork" not in methods:
        expected = "0 on a system that cannot fork processes"
        raise StudyError("readers", readers, expected, "leave --readers out")
    return "fork"


def _refuse_unportable(collate: Callable[[Any], Batch], readers: int) -> None:
    """Refuse a task that a reader without this process's memory could not be given."""
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
        reason = f"{module} is no module that another process can import"
    if reason:
        expected = (
            f"0 where processes are not forked and the task cannot be sent to them ({reason})"
        )
        raise StudyError("readers", readers, expected, "leave --readers out")


def _unchanged(batch: Any) -> Any:
    return batch


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, if it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this line itself has pickled
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
