"""Differences between a study file and the runs that are stored in its folder.

Runs are found by identity, which covers neither code nor titles: these are compared here.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

from quatrain.results import (
    CHECKPOINT,
    Manifest,
    Record,
    ResultStore,
    RunState,
    Session,
    comparable,
    join_names,
    notes_on_files,
    pluralize,
)
from quatrain.specs import Spec, StoredFileError, StudyError
from quatrain.study.grid import Run, Study
from quatrain.study.manifest import stored_manifest
from quatrain.study.sessions import earlier_failure, read_sessions


def check_stored_code(store: ResultStore, runs: Sequence[Run]) -> None:
    """Check that no finished or half-trained run has other code of the study's own specs."""
    changed = [run for run, record in _finished(store, runs) if _has_other_code(run, record)]
    if changed:
        when = f"{pluralize(len(changed), 'run')} finished"
        raise _changed_code(changed, store, when, "use another --out")
    check_session_code(list(_resumable(store, runs)), store)


def check_session_code(runs: Sequence[Run], store: ResultStore) -> None:
    """Check that no run would resume from a checkpoint of other code of its own specs."""
    changed = [
        run
        for run in runs
        for sessions in [read_sessions(store.files(run.identity)) or ()]
        if any(_has_other_code(run, session) for session in sessions)
    ]
    if changed:
        first = store.files(changed[0].identity) / CHECKPOINT
        which = str(first) if len(changed) == 1 else f"their checkpoints (as {first})"
        when = f"the training of {pluralize(len(changed), 'run')} began"
        raise _changed_code(changed, store, when, f"delete {which} to train from the beginning")


def notes_on(study: Study, store: ResultStore, runs: Sequence[Run]) -> list[str]:
    """Notes to print before `runs` are executed into the folder, one sentence each."""
    manifest = stored_manifest(store)
    notes: list[str] = []
    if manifest is not None:
        notes = [*_title(study, manifest), *_swapped(study, manifest)]
        notes += _replaced(study, store, manifest)
    try:
        check_stored_code(store, runs)
    except StudyError as error:
        notes.append(f"`study run` will refuse these cells: {error}")
    files = ((run.labels[0], run.code, record.code) for run, record in _finished(store, runs))
    return [*notes, *notes_on_files(files), *_different_data(study)]


def _has_other_code(run: Run, stored: Session | Record) -> bool:
    """Whether the code of the run's own specs differs from that of a stored session or record."""
    return comparable(run.code, stored.code) and run.spec_code != stored.spec_code


def _changed_code(runs: Sequence[Run], store: ResultStore, when: str, remedy: str) -> StudyError:
    spec = type(runs[0].spec).__name__
    cells = join_names([run.labels[0] for run in runs])
    return StudyError(
        f"the code of {spec} changed since {when} in {store.root} ({cells}); restore the code, "
        f"raise the `revision` of {spec} to run its cells again, {remedy}, or leave these cells "
        "out with --cells",
        spec,
    )


def _title(study: Study, manifest: Manifest) -> list[str]:
    if manifest.title == study.title:
        return []
    stored = [pair for cell in manifest.cells for pair in cell.identities.items()]
    if any(study.has(run, seed) for seed, run in stored):
        return [f"the title was {manifest.title!r} when a study was last run into the folder"]
    return [f"the folder is of another study, {manifest.title!r}, that shares no run with this one"]


def _swapped(study: Study, manifest: Manifest) -> list[str]:
    """Cells whose name belonged to another cell of the study when it was last run."""
    cells = {cell.label: cell for cell in study.cells}
    swapped = [
        stored.label
        for stored in manifest.cells
        if stored.label in cells
        for seed, run in stored.identities.items()
        if run != study.identity(cells[stored.label], seed) and study.has(run, seed)
    ]
    note = "cells have exchanged their names since the study was last run ({}): if cells are "
    note += "numbered, sort the values that number them"
    return [note.format(join_names(swapped))] if swapped else []


def _replaced(study: Study, store: ResultStore, manifest: Manifest) -> list[str]:
    """Cells with finished runs that have another spec by now."""
    cells = {cell.label: cell for cell in study.cells}
    replaced = [
        stored.label
        for stored in manifest.cells
        for seed, run in stored.identities.items()
        if stored.label in cells
        and run != study.identity(cells[stored.label], seed)
        and not study.has(run, seed)
        and store.state(run) is RunState.DONE
    ]
    if not replaced:
        return []
    return [
        f"{pluralize(len(replaced), 'run')} finished with other hyper-parameters or other code of "
        f"these cells: they are kept in {store.root}, and not averaged with new runs "
        f"({join_names(list(dict.fromkeys(replaced)))})"
    ]


def _different_data(study: Study) -> list[str]:
    """Groups whose cells have different specs of their data."""
    data: dict[str, dict[str, str]] = {}
    for cell in study.cells:
        spec = getattr(cell.spec, "data", None)
        if isinstance(spec, Spec):
            data.setdefault(cell.group, {}).setdefault(spec.to_json(), cell.name)
    return [
        f"cells of group {group} differ in their data; they are compared only if their test data "
        f"are the same ({join_names(list(names.values()))})"
        for group, names in data.items()
        if len(names) > 1
    ]


def _finished(store: ResultStore, runs: Iterable[Run]) -> Iterator[tuple[Run, Record]]:
    """The runs that have a record; a damaged record raises where it is needed."""
    for run in runs:
        with suppress(StoredFileError):
            record = store.record(run.identity)
            if record is not None:
                yield run, record


def _resumable(store: ResultStore, runs: Iterable[Run]) -> Iterator[Run]:
    """The runs that would resume or start again; damaged files raise where they are needed."""
    for run in runs:
        state = store.state(run.identity)
        if state in {RunState.DONE, RunState.ABSENT}:  # an absent run has no checkpoint
            continue
        with suppress(StoredFileError):
            if earlier_failure(run, store) is None:
                read_sessions(store.files(run.identity))
                yield run
