"""Batches of training images, and the random generator of each image's augmentation.

    image_batches(5, 2, seed=0, epoch=3)  ->  [BatchIndices(3, (4, 0)), BatchIndices(3, (2, 1))]

Both are pure functions of the seed, the epoch and the image, so a resumed run continues with the
same batches and the same pixels.
"""

from typing import NamedTuple

import numpy as np
import torch


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
