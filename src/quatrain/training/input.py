"""Batches made ahead of the training, by processes of their own.

    plans  ->  reader 1: collate  ->                       in the order of the plans, whichever
    plans  ->  reader 2: collate  ->  (pinned memory)  ->  reader was first

A batch is a function of its plan alone, so readers change when it is there and never what it is.
"""

import multiprocessing
import pickle
from collections.abc import Callable, Generator, Iterable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

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
        Exception: whatever `collate` raised, when that batch is asked for.
    """
    if readers == 0:
        yield from map(collate, plans)
        return
    loader = DataLoader(
        _Collated(collate),
        batch_size=None,
        sampler=plans,
        num_workers=readers,
        multiprocessing_context=_context(),
        collate_fn=_unchanged,
        pin_memory=pin,
        generator=torch.Generator(),  # else it would draw from the training's own
    )
    for batch in loader:
        if isinstance(batch, _Failed):
            raise batch.error
        yield batch


def _context() -> str | None:
    """Fork, where there is one: a reader that starts anew could not import a study's classes."""
    return "fork" if "fork" in multiprocessing.get_all_start_methods() else None


def _unchanged(batch: Any) -> Any:
    return batch


def _portable(error: Exception) -> Exception:
    """The error, or one that says the same, if it cannot travel between processes."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301 - what this line itself has pickled
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
