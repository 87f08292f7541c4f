"""Distributed evaluation: each item is evaluated by one process, then results are combined.

    for index in process_shard(len(part)):        # 0 2 4 in process 0 of 2, 1 3 in process 1
        counts.add(part[index])
    counts = sum_over_processes(counts)           # the same in every process

Distributed samplers for training pad shards to equal length by repeating items, which would change
a metric; these shards differ in length instead.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, TypeVar

from torch import distributed

_Part = TypeVar("_Part")


def process_shard(items: int) -> range:
    """The indices of `items` that this process evaluates; all of them without `torchrun`."""
    if not _is_distributed():
        return range(items)
    return range(distributed.get_rank(), items, distributed.get_world_size())


def sum_over_processes(part: _Part, add: Callable[[Any, Any], Any] = operator.add) -> _Part:
    """The sum of the parts of all processes, in the order of their ranks; a collective call."""
    if not _is_distributed():
        return part
    parts: list[Any] = [part] * distributed.get_world_size()
    distributed.all_gather_object(parts, part)
    return functools.reduce(add, parts)


def _is_distributed() -> bool:
    return distributed.is_available() and distributed.is_initialized()
