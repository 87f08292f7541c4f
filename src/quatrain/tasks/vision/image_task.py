"""The base class of the detection and segmentation tasks, and the cache of their data."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from quatrain.tasks.stamps import Stamps, file_stamps
from quatrain.tasks.vision.parts import Corpus
from quatrain.tasks.vision.sampler import BatchIndices, image_batches
from quatrain.training import Recipe


@runtime_checkable
class ImageSpec(Protocol):
    """The fields of a task's spec that decide its training."""

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        ...

    @property
    def batch(self) -> int:
        """Images of a training batch."""
        ...


SpecT = TypeVar("SpecT", bound=ImageSpec)
CorpusT = TypeVar("CorpusT", bound=Corpus[Any])


class ImageTask(ABC, Generic[SpecT, CorpusT]):
    """The spec, data and seed of one run; a batch is planned as the indices of its images."""

    seed: int

    def __init__(self, spec: SpecT, corpus: CorpusT, seed: int) -> None:
        self.spec, self.corpus, self.seed = spec, corpus, seed

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        return self.spec.recipe

    @property
    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of the files of all parts, by name."""
        return self.corpus.hashes

    @property
    def test_hashes(self) -> dict[str, str] | None:
        """SHA-256 of the test part, which cells with other training images may share."""
        return self.corpus.test_hashes

    @property
    def data_notes(self) -> dict[str, int]:
        """Counts of the data warnings, by part and kind."""
        return self.corpus.data_notes

    def batches(self, epoch: int) -> list[BatchIndices]:
        """The epoch's batches, as indices of training images."""
        images = len(self.corpus.train)
        return image_batches(images, self.spec.batch, seed=self.seed, epoch=epoch)

    @abstractmethod
    def collate(self, plan: BatchIndices) -> dict[str, Tensor]:
        """The augmented images and the targets of one batch."""

    def probe_batch(self) -> Mapping[str, Tensor]:
        """The first training batch."""
        return self.collate(self.batches(epoch=0)[0])


def read_cached(data: Any, folder: Path | None) -> Any:
    """The corpus `data.read(folder)`, kept in memory until a file below the folder changes.

    The runs of one study share their data, and a worker process executes many of them.
    """
    return _read(data, folder, file_stamps(folder))


@lru_cache(maxsize=2)
def _read(data: Any, folder: Path | None, stamps: Stamps) -> Any:  # noqa: ARG001 - a cache key
    return data.read(folder)
