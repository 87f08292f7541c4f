"""A results folder whose records are read once, for a command that needs them several times.

store = Snapshot(Path("runs/probes"))
store.record(identity)               # reads and checks the file
store.record(identity)               # the same object
"""

from pathlib import Path

from quatrain.results.record import Record
from quatrain.results.store import ResultStore


class Snapshot(ResultStore):
    """A store that keeps each record that it has read, about 10 KiB each.

    Missing and damaged records are looked for again.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._records: dict[str, Record] = {}

    def record(self, identity: str) -> Record | None:
        """The run's record, or None before it is done.

        Raises:
            StoredFileError: if the file is damaged or belongs to another run.
        """
        record = self._records.get(identity) or super().record(identity)
        if record is not None:
            self._records[identity] = record
        return record
