"""Everything a report is made of, read once: the manifest and what each run has left so far."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from quatrain.results import (
    Failure,
    Manifest,
    ManifestCell,
    ManifestComparison,
    Measurement,
    Record,
    ResultStore,
    RunState,
)
from quatrain.specs import StoredFileError, StudyError


@dataclass(frozen=True)
class Run:
    """One run of the study, finished or not."""

    folder: Path
    state: RunState
    record: Record | None
    failure: Failure | None
    measurement: Measurement | None


@dataclass(frozen=True)
class StudyRuns:
    """The manifest and its runs by identity; two groups may show the same run."""

    manifest: Manifest
    runs: Mapping[str, Run]
    strangers: int
    """Finished runs in the folder that belong to no cell, as after a change of the specs."""

    def of(self, cell: ManifestCell) -> dict[int, Run]:
        """The runs of a cell by seed."""
        return {seed: self.runs[identity] for seed, identity in sorted(cell.identities.items())}

    def records(self, cell: ManifestCell) -> dict[int, Record]:
        """The records of a cell's finished runs by seed."""
        return {seed: run.record for seed, run in self.of(cell).items() if run.record is not None}

    def sides(self, comparison: ManifestComparison) -> list[dict[int, Record]]:
        """The records of its left and of its right cell, by seed: those of seeds in both."""
        named = {cell.name: cell for cell in self.manifest.cells if cell.group == comparison.group}
        left, right = (self.records(named[x]) for x in (comparison.left, comparison.right))
        return [{seed: side[seed] for seed in left.keys() & right.keys()} for side in (left, right)]

    def all_records(self) -> list[Record]:
        """Every record of the study, each once."""
        return [run.record for run in self.runs.values() if run.record is not None]


def load_runs(store: ResultStore) -> StudyRuns:
    """Read the manifest and every run it names, and refuse to mix results of different data.

    Raises:
        StudyError: if there is no study here, or if the runs of one group saw different data.
        StoredFileError: if a stored file is damaged, or a record is not of the run that it names.
    """
    manifest = store.manifest()
    identities = {one: None for cell in manifest.cells for one in cell.identities.values()}
    folders = {path.parent for path in store.root.glob("runs/*/record.json")}
    strangers = len(folders - {store.folder(one) for one in identities})
    study = StudyRuns(manifest, {one: _load(store, one) for one in identities}, strangers)
    described = {record.spec_name for record in study.all_records() if record.spec}
    for cell in manifest.cells:
        _check_own_records(study, cell, described)
    for group in dict.fromkeys(cell.group for cell in manifest.cells):
        cells = [cell for cell in manifest.cells if cell.group == group]
        _check_same_data([record for cell in cells for record in study.records(cell).values()])
    return study


def metric_of(record: Record, name: str) -> float:
    """A metric of a finished run.

    Raises:
        StudyError: if the record has none of that name.
    """
    if name not in record.metrics:
        known = ", ".join(record.metrics) or "none"
        raise StudyError(
            "metric",
            name,
            f"a metric of the records ({known})",
            "mend the metric in the study file and run the study again: finished runs are kept",
        )
    return record.metrics[name]


def _load(store: ResultStore, identity: str) -> Run:
    record = store.record(identity)
    failure = store.failure(identity) if record is None else None
    folder, state = store.folder(identity), store.state(identity)
    return Run(folder, state, record, failure, store.measurement(identity))


def _check_own_records(study: StudyRuns, cell: ManifestCell, described: set[str]) -> None:
    """Refuse records that were edited to be of another seed or spec than their identity's."""
    remedy = "delete this file and run the study again, which repeats this run only"
    for seed, record in study.records(cell).items():
        facts = [("seed", record.seed, seed), ("spec_name", record.spec_name, cell.spec_name)]
        if not record.spec and record.spec_name in described:
            facts.append(("spec", "empty", f"fields of {record.spec_name}, as in other records"))
        for name, found, right in facts:
            if found != right:
                path = study.runs[record.identity].folder / "record.json"
                raise StoredFileError(str(path), f"{name} = {found}", f"{right}", remedy)


def _check_same_data(records: list[Record]) -> None:
    for record in records[1:]:
        first = records[0]
        for name in sorted(first.data.keys() | record.data.keys()):
            if first.data.get(name) != record.data.get(name):
                raise StudyError(
                    f"data file {name}",
                    f"{_short(record, name)} in {record.cell} seed {record.seed}",
                    f"{_short(first, name)} as in {first.cell} seed {first.seed}",
                    "compare runs on the same data only: run the study anew into another folder",
                )


def _short(record: Record, name: str) -> str:
    return f"SHA-256 {record.data[name][:12]}" if name in record.data else "absent"
