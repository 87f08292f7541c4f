"""Which images meet in a batch, and what each image's augmentation is drawn from.

    image_batches(5, 2, seed=0, epoch=3)  ->  [Draw(3, (4, 0)), Draw(3, (2, 1))]

Both are pure functions of the seed, the epoch and the image, so a run that was stopped finds the
batch it was at, and the pixels that it would have seen.
"""

from typing import NamedTuple

import numpy as np
import torch


class Draw(NamedTuple):
    """The plan of one batch: the epoch, and the indices of its images."""

    epoch: int
    indices: tuple[int, ...]


def image_batches(images: int, batch: int, *, seed: int, epoch: int) -> list[Draw]:
    """All images in random order, `batch` at a time; those that are left over wait.

    Where there are fewer images than a batch holds, they are one batch.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images).tolist()
    last = max(images - images % batch, min(images, 1))
    return [Draw(epoch, tuple(order[first : first + batch])) for first in range(0, last, batch)]


def image_generator(seed: int, epoch: int, index: int) -> torch.Generator:
    """What the augmentation of an image is drawn from, when an epoch comes to it."""
    entropy = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(entropy[0]))
