"""Who evaluates what, among several processes: every item once, nothing repeated.

    shard(5, process=0, processes=2)  ->  0 2 4        shard(5, process=1, processes=2)  ->  1 3
    own_shard(5)                          this process's, under `torchrun` and without
    merged(matrix)                        the sum of every process's matrix, in every process

Samplers for training repeat items so that all processes have as many; a sum over a data set that
was divided like that is of another data set.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

from quatrain.specs import InputError

_Metric = TypeVar("_Metric")


def shard(items: int, *, process: int, processes: int) -> range:
    """The indices that `process` (counted from 0) takes of `items`.

    Raises:
        InputError: if there is no such process.
    """
    if not 0 <= process < processes:
        raise InputError(
            "process", process, f"one of the {processes} processes", "count them from 0"
        )
    return range(process, items, processes)


def own_shard(items: int) -> range:
    """The indices of `items` that this process takes: all of them where it is alone."""
    if not _together():
        return range(items)
    return shard(items, process=distributed.get_rank(), processes=distributed.get_world_size())


def merged(part: _Metric, add: Callable[[Any, Any], Any] = operator.add) -> _Metric:
    """The sum of what all processes hold, in the order of the processes; each of them calls it."""
    if not _together():
        return part
    parts: list[Any] = [part] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    return functools.reduce(add, parts)


def _together() -> bool:
    return distributed.is_available() and distributed.is_initialized()
