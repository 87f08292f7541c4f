"""What the tasks on images share: data that is read once, and batches of its training images."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sized
from functools import lru_cache
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

from torch import Tensor

from quatrain.tasks.stamps import Stamps, file_stamps
from quatrain.tasks.vision.sampler import Draw, image_batches
from quatrain.training import Recipe


@runtime_checkable
class ImageSpec(Protocol):
    """What the spec of such a task says of its training."""

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        ...

    @property
    def batch(self) -> int:
        """Images of a training batch."""
        ...


@runtime_checkable
class ImageCorpus(Protocol):
    """What the data of such a task hold."""

    @property
    def train(self) -> Sized:
        """The training images."""
        ...

    @property
    def hashes(self) -> dict[str, str]:
        """SHA-256 of what was read, by name."""
        ...

    @property
    def test_hashes(self) -> dict[str, str] | None:
        """SHA-256 of what the test part was read from, by name."""
        ...

    @property
    def skipped(self) -> dict[str, int]:
        """How much was left out or changed, by what."""
        ...


SpecT = TypeVar("SpecT", bound=ImageSpec)
CorpusT = TypeVar("CorpusT", bound=ImageCorpus)


class ImageTask(ABC, Generic[SpecT, CorpusT]):
    """A spec, images and the seed of one run; a batch is planned by the indices of its images."""

    def __init__(self, spec: SpecT, corpus: CorpusT, seed: int) -> None:
        self.spec, self.corpus, self.seed = spec, corpus, seed

    @property
    def recipe(self) -> Recipe:
        """How to train."""
        return self.spec.recipe

    @property
    def data_hashes(self) -> dict[str, str]:
        """SHA-256 of what was read, by name."""
        return self.corpus.hashes

    @property
    def test_hashes(self) -> dict[str, str] | None:
        """SHA-256 of the test part, which cells with other training images may share."""
        return self.corpus.test_hashes

    @property
    def data_notes(self) -> dict[str, int]:
        """What of the data was left out or changed, and how often."""
        return self.corpus.skipped

    def batches(self, epoch: int) -> list[Draw]:
        """The epoch's batches, as indices of training images."""
        images = len(self.corpus.train)
        return image_batches(images, self.spec.batch, seed=self.seed, epoch=epoch)

    @abstractmethod
    def collate(self, plan: Draw) -> dict[str, Tensor]:
        """The augmented images of one batch, and what is to be found in them."""

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
