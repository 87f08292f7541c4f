"""The finished runs of a study's folder, each read once: their metric and how long they took."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass

from quatrain.results import Record, ResultStore
from quatrain.specs import StoredFileError
from quatrain.study.grid import Run


@dataclass(frozen=True)
class FinishedRun:
    """The part of a record that decides which runs are started next."""

    value: float | None
    """The metric of the comparisons; None if the record lacks it."""
    steps: int
    training_seconds: float
    other_seconds: float
    """Seconds before and after training: reading data, evaluation, cost."""

    @property
    def seconds(self) -> float:
        """The duration of the whole run."""
        return self.training_seconds + self.other_seconds


class FinishedRuns:
    """The finished ones among some runs, by identity, also those that other runners finish."""

    def __init__(
        self,
        store: ResultStore,
        runs: Iterable[Run],
        metric: str,
        where: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Nothing is read before `update`; records for which `where` is false do not count."""
        self._store, self._metric, self._where = store, metric, where
        self._unread = {run.identity: run for run in runs}
        self.by_identity: dict[str, FinishedRun] = {}

    def update(self) -> bool:
        """Read the records that are new in the folder; whether there are any.

        A damaged record is left out: the runner reports it.
        """
        before = len(self.by_identity)
        folders = self._folders()
        for identity in [identity for identity in self._unread if identity[:16] in folders]:
            with suppress(StoredFileError):
                self._read(identity)
        return len(self.by_identity) > before

    def _folders(self) -> set[str]:
        try:
            return {path.name for path in (self._store.root / "runs").iterdir()}
        except OSError:
            return set()

    def _read(self, identity: str) -> None:
        record = self._store.record(identity)
        if record is not None:
            del self._unread[identity]
            if not self._where(record):
                return
            self.by_identity[identity] = FinishedRun(
                record.metrics.get(self._metric),
                record.steps,
                record.seconds,
                record.other_seconds or 0.0,
            )
