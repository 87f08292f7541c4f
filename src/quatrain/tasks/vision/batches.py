"""The images of a training batch, and those that one process of several evaluates.

    image_batches(5, 2, seed=0, epoch=3)  ->  [BatchIndices(3, (4, 0)), BatchIndices(3, (2, 1))]

Batches and the generators of augmentations are pure functions of seed, epoch and image, so a
resumed run continues with the same batches and the same pixels.

    for index in process_shard(len(part)):        # 0 2 4 in process 0 of 2, 1 3 in process 1
        counts.add(part[index])
    counts = sum_over_processes(counts)           # the same in every process

Distributed samplers for training pad shards to equal length by repeating items, which would change
a metric; these shards differ in length instead.
"""

import functools
import operator
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import distributed

_Part = TypeVar("_Part")


class BatchIndices(NamedTuple):
    """The epoch of a batch and the indices of its images."""

    epoch: int
    indices: tuple[int, ...]


def image_batches(images: int, batch: int, *, seed: int, epoch: int) -> list[BatchIndices]:
    """All images in random order, `batch` at a time; an incomplete last batch is dropped.

    With fewer images than `batch`, they form one batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images).tolist()
    stop = max(images - images % batch, min(images, 1))
    return [
        BatchIndices(epoch, tuple(order[first : first + batch])) for first in range(0, stop, batch)
    ]


def image_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """The generator for the augmentation of one image in one epoch."""
    entropy = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]))


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
