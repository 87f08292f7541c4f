"""The manifest and the runs of a study, read from its folder and checked."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from quatrain.report.notes import Note
from quatrain.results import (
    Comparison,
    Failure,
    Manifest,
    ManifestCell,
    Measurement,
    Record,
    ResultStore,
    RunState,
    changed_files,
    notes_on_files,
)
from quatrain.results.store import RUN_AGAIN
from quatrain.specs import StoredFileError, StudyError


@dataclass(frozen=True)
class ReportedRun:
    """One run of the study, finished or not."""

    folder: Path
    state: RunState
    record: Record | None
    failure: Failure | None
    measurement: Measurement | None

    @cached_property
    def cost(self) -> dict[str, float]:
        """The counted costs of a finished run, also those that were added to it afterwards."""
        if self.record is None:
            return {}
        return {**(getattr(self.measurement, "cost", None) or {}), **self.record.cost}


@dataclass(frozen=True)
class StudyRuns:
    """The manifest and its runs by identity; a run may belong to several groups."""

    manifest: Manifest
    runs: Mapping[str, ReportedRun]
    orphaned_runs: int
    """Number of finished runs in the folder that belong to no cell, as after a change of specs."""
    notes: tuple[Note, ...] = ()
    """Groups that are not shown, and differences in code or training data between runs."""

    def runs_of(self, cell: ManifestCell) -> dict[int, ReportedRun]:
        """The runs of a cell by seed."""
        return {seed: self.runs[identity] for seed, identity in sorted(cell.identities.items())}

    def records(self, cell: ManifestCell) -> Mapping[int, Record]:
        """The records of a cell's finished runs by seed."""
        return self._records[cell.group, cell.name]

    @cached_property
    def _records(self) -> dict[tuple[str, str], dict[int, Record]]:
        return {
            (cell.group, cell.name): {
                seed: run.record
                for seed, run in self.runs_of(cell).items()
                if run.record is not None
            }
            for cell in self.manifest.cells
        }

    def paired_records(self, comparison: Comparison) -> list[dict[int, Record]]:
        """The records of the left and of the right cell, by the seeds that both have."""
        names = comparison.left, comparison.right
        left, right = (self.records(self._cells[comparison.group, name]) for name in names)
        return [{seed: side[seed] for seed in left.keys() & right.keys()} for side in (left, right)]

    def compared_runs(self) -> list[ReportedRun]:
        """The runs of all cells in comparisons, each once."""
        labels = [
            (comparison.group, name)
            for comparison in self.manifest.comparisons
            for name in (comparison.left, comparison.right)
        ]
        cells = [self._cells[label] for label in dict.fromkeys(labels)]
        identities = dict.fromkeys(run for cell in cells for run in cell.identities.values())
        return [self.runs[identity] for identity in identities]

    @cached_property
    def _cells(self) -> dict[tuple[str, str], ManifestCell]:
        return {(cell.group, cell.name): cell for cell in self.manifest.cells}

    def all_records(self) -> list[Record]:
        """Every record of the study, each once."""
        return [run.record for run in self.runs.values() if run.record is not None]

    def measurements(self) -> list[Measurement]:
        """Every measurement of the study, each once."""
        return [run.measurement for run in self.runs.values() if run.measurement is not None]


def load_runs(store: ResultStore) -> StudyRuns:
    """Read the manifest and its runs.

    StudyError if there is no study, if runs of one group were tested on different data, or if those
    of one cell were trained on different data; StoredFileError for damaged or edited files.
    """
    manifest = store.manifest()
    identities = {run: None for cell in manifest.cells for run in cell.identities.values()}
    runs = {run: _load(store, run) for run in identities}
    study = StudyRuns(manifest, runs, _orphaned_runs(store, {run.folder for run in runs.values()}))
    spec_names = {record.spec_name for record in study.all_records() if record.spec}
    groups: dict[str, list[Record]] = {}
    for cell in manifest.cells:
        _check_records(study, cell, spec_names)
        groups.setdefault(cell.group, []).extend(study.records(cell).values())
    notes = _code_changes(study)
    for group, records in groups.items():
        if _differ_in_training(records):
            text = f"cells of group {group} were trained on different data"
            notes.append(Note("Data", text))
    return replace(study, notes=tuple(notes))


def drop_unstarted_groups(study: StudyRuns) -> StudyRuns:
    """The study without groups that were not started; a note names them.

    A run that a group shares with another does not start it. If no group was started, all stay.
    """
    members: dict[str, set[str]] = {}
    for cell in study.manifest.cells:
        members.setdefault(cell.group, set()).update(cell.identities.values())
    times = Counter(run for runs in members.values() for run in runs)
    absent: list[str] = []
    for group, runs in members.items():
        unshared = [study.runs[run] for run in runs if times[run] == 1]
        if unshared and all(run.state is RunState.ABSENT for run in unshared):
            absent.append(group)
    if not absent or len(absent) == len(members):
        return study
    sizes = Counter(cell.group for cell in study.manifest.cells)
    listed = ", ".join(f"{group} ({sizes[group]} cells)" for group in absent)
    cells, comparisons = (
        tuple(item for item in items if item.group not in absent)
        for items in (study.manifest.cells, study.manifest.comparisons)
    )
    manifest = study.manifest.model_copy(update={"cells": cells, "comparisons": comparisons})
    note = Note("Unfinished runs", f"groups not started, not shown: {listed}")
    return replace(study, manifest=manifest, notes=(note, *study.notes))


def metric_of(record: Record, name: str) -> float:
    """A metric of a finished run; StudyError if the record has none of that name."""
    if name not in record.metrics:
        known = ", ".join(record.metrics) or "none"
        raise StudyError(
            f"a record has no metric {name!r}; its metrics are: {known}; correct the metric in the "
            "study file and run the study again, which keeps finished runs",
            "metric",
        )
    return record.metrics[name]


def _orphaned_runs(store: ResultStore, known: set[Path]) -> int:
    """The number of folders with a record that are not among the `known` ones."""
    try:
        others = set((store.root / "runs").iterdir()) - known
    except OSError:
        return 0
    return sum((folder / "record.json").exists() for folder in others)


def _load(store: ResultStore, identity: str) -> ReportedRun:
    folder, record = store.folder(identity), store.record(identity)
    if record is not None:
        return ReportedRun(folder, RunState.DONE, record, None, store.measurement(identity))
    failure, state = store.failure(identity), store.state(identity)
    return ReportedRun(store.files(identity), state, None, failure, store.measurement(identity))


def _check_records(study: StudyRuns, cell: ManifestCell, spec_names: set[str]) -> None:
    """Check that seed and spec of the records are those of their identity.

    An empty spec is damage if other records have the fields of a spec of this name (`spec_names`).
    """
    for seed, record in study.records(cell).items():
        facts = [("seed", record.seed, seed), ("spec_name", record.spec_name, cell.spec_name)]
        wrong = [f"{name} is {value}, not {this}" for name, value, this in facts if value != this]
        if not record.spec and record.spec_name in spec_names:
            wrong.append("spec is empty, unlike in other records")
        if wrong:
            path = study.runs[record.identity].folder / "record.json"
            raise StoredFileError(f"{path}: {wrong[0]}; {RUN_AGAIN}", str(path))


def _code_changes(study: StudyRuns) -> list[Note]:
    """Notes on runs whose study code differs from that of the latest run."""
    labels = {
        identity: cell.label
        for cell in reversed(study.manifest.cells)
        for identity in cell.identities.values()
    }
    texts = notes_on_files(
        (labels[record.identity], study.manifest.code, record.code)
        for record in study.all_records()
    )
    return [Note("Code and versions", text) for text in texts]


def _differ_in_training(records: list[Record]) -> bool:
    """Whether the runs of a group were trained on different data.

    StudyError if they were tested on different data, or if equal data specs read different files.
    """
    first_by_spec: dict[str, Record] = {}
    for record in records:
        data_spec = json.dumps(record.spec.get("data", record.spec), sort_keys=True)
        _check_same("data file", first_by_spec.setdefault(data_spec, record), record)
        first = records[0]
        is_old = record.test_data is None or first.test_data is None
        _check_same("data file" if is_old else "test data", first, record)
    return any(record.data != records[0].data for record in records)


def _check_same(kind: str, first: Record, record: Record) -> None:
    before, now = (
        (run.test_data or {}) if kind == "test data" else run.data for run in (first, record)
    )
    if now == before:
        return
    for name in changed_files(now, before):
        raise StudyError(
            f"{kind} {name} is {_short(now, name)} in {record.cell} seed {record.seed}, but "
            f"{_short(before, name)} in {first.cell} seed {first.seed}; run the study again into "
            "another folder, or move cells with other data to another group",
            f"{kind} {name}",
        )


def _short(hashes: Mapping[str, str], name: str) -> str:
    return f"SHA-256 {hashes[name][:12]}" if name in hashes else "absent"
