"""The levels of the tests of a study, lower after a look at its results.

Seeds that were added after a look lower the level of all tests. While the planned seeds of a
comparison have not all finished, a reader of a live page or of several reports can stop at a result
that is liked: such a comparison is judged as if it were looked at after each of the planned seeds.
"""

from collections.abc import Collection
from dataclasses import dataclass

from quatrain.report.runs import StudyRuns
from quatrain.results.answers import LEVEL, level_at


@dataclass(frozen=True)
class Progress:
    """The finished and the planned seeds of a contrast, of the cell that lacks most."""

    done: int
    planned: int

    @property
    def is_complete(self) -> bool:
        """Whether all planned seeds have finished."""
        return self.done == self.planned


class Levels:
    """The level of each contrast of a study."""

    def __init__(self, study: StudyRuns) -> None:
        self._study = study
        self._cells = {(cell.group, cell.name): cell for cell in study.manifest.cells}
        self.complete: float = level_of(study)
        """The level of contrasts whose planned seeds have all finished."""

    def progress(self, group: str, cells: Collection[str]) -> Progress:
        """The seeds of these cells of a group."""
        chosen = [self._cells[group, name] for name in cells]
        found = [Progress(len(self._study.records(cell)), len(cell.identities)) for cell in chosen]
        return max(found, key=lambda progress: (progress.planned - progress.done, progress.planned))

    def of(self, group: str, cells: Collection[str]) -> float:
        """The level of a contrast of these cells of a group."""
        progress = self.progress(group, cells)
        if progress.is_complete:
            return self.complete
        return min(self.complete, LEVEL / (self._study.manifest.maximum_seeds or progress.planned))


def level_of(study: StudyRuns) -> float:
    """The level after the recorded looks; added seeds that have not finished do not change it."""
    manifest = study.manifest
    seeds = max((len(study.records(cell)) for cell in manifest.cells), default=0) or 1
    earlier = [look for look in manifest.looks if look < seeds]
    return level_at((*earlier, seeds), manifest.maximum_seeds)
