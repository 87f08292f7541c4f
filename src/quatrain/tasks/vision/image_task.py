"""The base class of the detection and segmentation tasks, and their small recipe."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from quatrain.tasks.vision.batches import BatchIndices, image_batches, image_generator
from quatrain.tasks.vision.panels import write_picture
from quatrain.training import Polynomial, Recipe, Task

_PICTURES = 4
"""The number of test images of which a run writes pictures."""


class ImageTask(Task):
    """The spec, data and seed of one run; a batch is planned as the indices of its images."""

    def __init__(self, spec: Any, corpus: Any, seed: int) -> None:
        self.spec: Any = spec
        self.corpus: Any = corpus
        self.seed: int = seed
        self.recipe: Recipe = spec.recipe
        self.augmentation: Any = spec.augmentation
        self.data_hashes: dict[str, str] = corpus.hashes
        self.data_notes: dict[str, int] = corpus.data_notes
        self.test_hashes: dict[str, str] | None = corpus.test_hashes

    def batches(self, epoch: int) -> list[BatchIndices]:
        """The epoch's batches, as indices of training images."""
        images = len(self.corpus.train)
        return image_batches(images, self.spec.batch, seed=self.seed, epoch=epoch)

    def training_samples(self, plan: BatchIndices) -> list[Any]:
        """The augmented samples of one batch."""
        return [
            self.augmentation.train(
                self.corpus.train[index], image_generator(self.seed, plan.epoch, index)
            )
            for index in plan.indices
        ]

    def write_pictures(
        self, folder: Path, draw: Callable[[Any], Mapping[str, Image.Image | None]]
    ) -> tuple[str, ...]:
        """Write the pictures of the first test images, which `draw` returns by their kind."""
        names: list[str] = []
        for index in range(min(_PICTURES, len(self.corpus.test))):
            sample = self.corpus.test[index]
            for kind, picture in draw(sample).items():
                if picture is not None:
                    names.append(write_picture(folder / f"{kind}-{sample.image_id}.png", picture))
        return tuple(names)

    def example_batch(self) -> Mapping[str, Tensor]:
        """The first training batch."""
        return self.collate(self.batches(epoch=0)[0])


def small_recipe(
    steps: int, *, longest_warmup: int, monitor_every: int, learning_rate: float = 1e-3
) -> Recipe:
    """The recipe of the small networks, which start without pretrained weights.

    Adam with decay to zero; a tenth of the steps warms up, `longest_warmup` at most.
    """
    return Recipe(
        steps=steps,
        learning_rate=learning_rate,
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
