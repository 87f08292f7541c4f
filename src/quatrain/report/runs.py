"""Everything a report is made of, read once: the manifest and what each run has left so far."""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    changed_files,
    notes_on_files,
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
    orphaned_runs: int
    """Finished runs in the folder that belong to no cell, as after a change of the specs."""
    notes: tuple[str, ...] = ()
    """Groups that are not shown, and differences of code or training data between runs."""

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
        StudyError: if there is no study here, or if the runs of one group were tested on different
            data, or those of one cell trained on different data.
        StoredFileError: if a stored file is damaged, or a record is not of the run that it names.
    """
    manifest = store.manifest()
    identities = {one: None for cell in manifest.cells for one in cell.identities.values()}
    folders = {path.parent for path in store.root.glob("runs/*/record.json")}
    orphaned_runs = len(folders - {store.folder(one) for one in identities})
    study = StudyRuns(manifest, {one: _load(store, one) for one in identities}, orphaned_runs)
    described = {record.spec_name for record in study.all_records() if record.spec}
    for cell in manifest.cells:
        _check_own_records(study, cell, described)
    notes = _other_code(study)
    for group in dict.fromkeys(cell.group for cell in manifest.cells):
        cells = [cell for cell in manifest.cells if cell.group == group]
        if _differ_in_training([r for cell in cells for r in study.records(cell).values()]):
            notes.append(f"cells of group {group} were trained on different data")
    return replace(study, notes=tuple(notes))


def drop_unstarted_groups(study: StudyRuns) -> StudyRuns:
    """The study without the groups that have runs of their own and began none of these.

    A note names these groups. Runs that other groups share do not count: those groups may have been
    run alone. Where no group was begun, all are kept.
    """
    members: dict[str, set[str]] = {}
    for cell in study.manifest.cells:
        members.setdefault(cell.group, set()).update(cell.identities.values())
    times = Counter(run for runs in members.values() for run in runs)
    absent: list[str] = []
    for group, runs in members.items():
        own = [study.runs[run] for run in runs if times[run] == 1]
        if own and all(run.state is RunState.ABSENT for run in own):
            absent.append(group)
    if not absent or len(absent) == len(members):
        return study
    sizes = Counter(cell.group for cell in study.manifest.cells)
    listed = ", ".join(f"{group} ({sizes[group]} cells)" for group in absent)
    cells, comparisons = (
        tuple(each for each in items if each.group not in absent)
        for items in (study.manifest.cells, study.manifest.comparisons)
    )
    manifest = study.manifest.model_copy(update={"cells": cells, "comparisons": comparisons})
    notes = (f"groups not started, not shown: {listed}", *study.notes)
    return replace(study, manifest=manifest, notes=notes)


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


def _other_code(study: StudyRuns) -> list[str]:
    """Runs made with other code of the study than it had when it was last run."""
    labels = {
        identity: f"{cell.group}/{cell.name}"
        for cell in reversed(study.manifest.cells)
        for identity in cell.identities.values()
    }
    return notes_on_files(
        (labels[record.identity], study.manifest.code, record.code)
        for record in study.all_records()
    )


def _differ_in_training(records: list[Record]) -> bool:
    """Whether runs of a group were trained on different data, and tested on the same.

    Raises:
        StudyError: if they were tested on different data, or if specs that describe the same data
            met different files.
    """
    alike: dict[str, Record] = {}
    for record in records:
        described = json.dumps(record.spec.get("data", record.spec), sort_keys=True)
        _check_same("data file", alike.setdefault(described, record), record)
        first = records[0]
        if record.test_data is None or first.test_data is None:
            _check_same("data file", first, record)
        else:
            _check_same("test data", first, record)
    return any(record.data != records[0].data for record in records)


def _check_same(field: str, first: Record, record: Record) -> None:
    before, now = (
        (each.test_data or {}) if field == "test data" else each.data for each in (first, record)
    )
    for name in changed_files(now, before):
        raise StudyError(
            f"{field} {name}",
            f"{_short(now, name)} in {record.cell} seed {record.seed}",
            f"{_short(before, name)} as in {first.cell} seed {first.seed}",
            "compare runs on the same data only: run the study anew into another folder, or give "
            "cells of other data a group of their own",
        )


def _short(hashes: Mapping[str, str], name: str) -> str:
    return f"SHA-256 {hashes[name][:12]}" if name in hashes else "absent"
