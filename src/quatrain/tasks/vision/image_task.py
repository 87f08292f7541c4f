"""The base class of the detection and segmentation tasks, and their small recipe."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from quatrain.tasks.vision.batches import BatchIndices, image_batches
from quatrain.training import Polynomial, Recipe, Task


class ImageTask(Task):
    """The spec, data and seed of one run; a batch is planned as the indices of its images."""

    def __init__(self, spec: Any, corpus: Any, seed: int) -> None:
        self.spec: Any = spec
        self.corpus: Any = corpus
        self.seed: int = seed
        self.recipe: Recipe = spec.recipe
        self.data_hashes: dict[str, str] = corpus.hashes
        self.data_notes: dict[str, int] = corpus.data_notes
        self.test_hashes: dict[str, str] | None = corpus.test_hashes

    def batches(self, epoch: int) -> list[BatchIndices]:
        """The epoch's batches, as indices of training images."""
        images = len(self.corpus.train)
        return image_batches(images, self.spec.batch, seed=self.seed, epoch=epoch)

    def example_batch(self) -> Mapping[str, Tensor]:
        """The first training batch."""
        return self.collate(self.batches(epoch=0)[0])


def small_recipe(steps: int, *, longest_warmup: int, monitor_every: int) -> Recipe:
    """The recipe of the small networks, which start without pretrained weights.

    Adam with decay to zero; a tenth of the steps warms up, `longest_warmup` at most.
    """
    return Recipe(
        steps=steps,
        learning_rate=1e-3,
        betas=(0.9, 0.99),
        epsilon=1e-8,
        weight_decay=0.01,
        warmup_steps=min(longest_warmup, steps // 10),
        schedule=Polynomial(power=0.9),
        clip_norm=1.0,
        report_every=20,
        monitor_every=monitor_every,
        checkpoint_every=100,
    )
