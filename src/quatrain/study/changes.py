"""What is in a folder of results against what the study file says now.

Runs are found by identity, which holds no code and no title: here the rest is compared.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from quatrain.results import (
    Manifest,
    Record,
    ResultStore,
    RunState,
    counted,
    listed,
    notes_on_files,
)
from quatrain.specs import Spec, StoredFileError, StudyError, identity
from quatrain.study.execute import stands
from quatrain.study.grid import Run, Study
from quatrain.study.sessions import has_other_code, read_sessions, refuse_half_trained


def runs_of_manifest(study: Study, store: ResultStore) -> list[Run]:
    """The study's runs with the seeds beyond those of its cells that the manifest gives them."""
    manifest = stored_manifest(store)
    cells = () if manifest is None else manifest.cells
    seeds = {(cell.group, cell.name): cell.identities for cell in cells}
    return list(
        study.runs(
            (seed, cell)
            for cell in study.cells
            for seed in seeds.get((cell.group, cell.name), {})
            if seed not in study.seeds_for(cell)
        )
    )


def refuse_changed_code(store: ResultStore, runs: Sequence[Run]) -> None:
    """Check that no finished or half-trained run is of other code of the study's own specs.

    Raises:
        StudyError: if one is; nothing has been changed then.
    """
    changed = [run for run, record in _finished(store, runs) if has_other_code(run, record)]
    if changed:
        spec = type(changed[0].spec).__name__
        raise StudyError(
            f"code of {spec}",
            f"changed since {counted(len(changed), 'run')} finished in {store.root} "
            f"({_cells(changed)})",
            "the code that finished runs were made with",
            f"restore the code, raise the `revision` of {spec} to run its cells anew, name another "
            "--out, or leave these cells out with --cells",
        )
    refuse_half_trained(list(_resumable(store, runs)), store)


def notes_on(study: Study, store: ResultStore, runs: Sequence[Run]) -> list[str]:
    """What to know before `runs` are done into the folder, one sentence each.

    Raises:
        StoredFileError: if the manifest is damaged.
    """
    manifest = stored_manifest(store)
    return [
        *_other_study(study, manifest),
        *_exchanged_names(study, manifest),
        *_refusal(store, runs),
        *_changed_files(store, runs),
        *_unlike_data(study),
    ]


def _other_study(study: Study, manifest: Manifest | None) -> list[str]:
    if manifest is None or manifest.title == study.title:
        return []
    if any(
        study.has(run, seed) for cell in manifest.cells for seed, run in cell.identities.items()
    ):
        return [f"the title was {manifest.title!r} when a study was last run into the folder"]
    return [
        f"the folder was last used by another study, {manifest.title!r}, none of whose runs this "
        "one has"
    ]


def _exchanged_names(study: Study, manifest: Manifest | None) -> list[str]:
    """Cells of the study whose name stood for another of its cells when it was last run."""
    cells = {cell.label: cell for cell in study.cells}
    exchanged: list[str] = []
    for before in () if manifest is None else manifest.cells:
        cell = cells.get(f"{before.group}/{before.name}")
        for seed, run in before.identities.items():
            if cell is not None and run != identity(cell.spec, seed) and study.has(run, seed):
                exchanged.append(cell.label)
                break
    if not exchanged:
        return []
    return [
        f"names stand for other cells than when the study was last run ({listed(exchanged)}): if "
        "cells are numbered, sort what they are numbered by"
    ]


def _refusal(store: ResultStore, runs: Sequence[Run]) -> list[str]:
    try:
        refuse_changed_code(store, runs)
    except StudyError as error:
        return [f"`study run` will refuse these cells: {error.field} {error.value}"]
    return []


def _changed_files(store: ResultStore, runs: Sequence[Run]) -> list[str]:
    return notes_on_files(
        (run.labels[0], None if run.code is None else run.code.code, record.code)
        for run, record in _finished(store, runs)
    )


def _unlike_data(study: Study) -> list[str]:
    """Groups whose cells say themselves that their data differ."""
    data: dict[str, dict[str, str]] = {}
    for cell in study.cells:
        own = getattr(cell.spec, "data", None)
        if isinstance(own, Spec):
            data.setdefault(cell.group, {}).setdefault(own.to_json(), cell.name)
    return [
        f"cells of group {group} differ in their data: they are compared if they are tested on the "
        f"same ({listed(list(names.values()))})"
        for group, names in data.items()
        if len(names) > 1
    ]


def _finished(store: ResultStore, runs: Iterable[Run]) -> Iterable[tuple[Run, Record]]:
    """The runs that have a record; a damaged one is named where it is needed."""
    for run in runs:
        with suppress(StoredFileError):
            record = store.record(run.identity)
            if record is not None:
                yield run, record


def _resumable(store: ResultStore, runs: Iterable[Run]) -> Iterable[Run]:
    """The runs that are not done and would resume; damaged files are named by who needs them."""
    for run in runs:
        with suppress(StoredFileError):
            is_done = store.state(run.identity) is RunState.DONE
            if not is_done and stands(run, store) is None:
                read_sessions(store.folder(run.identity))
                yield run


def stored_manifest(store: ResultStore) -> Manifest | None:
    """The manifest of the folder, or None where no study was run into it.

    Raises:
        StoredFileError: if it is damaged.
    """
    try:
        return store.manifest()
    except StoredFileError:
        raise
    except StudyError:
        return None


def _cells(runs: Iterable[Run]) -> str:
    return listed([run.labels[0] for run in runs])
