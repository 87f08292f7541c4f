"""What is in a folder of results against what the study file says now.

Runs are found by identity, which holds no code and no title: here the rest is compared.
"""

from collections.abc import Iterable, Sequence
from contextlib import suppress

from quatrain.results import Manifest, Record, ResultStore, changed_files
from quatrain.specs import Spec, StoredFileError, StudyError, identity
from quatrain.study.grid import Run, Study

_SHOWN = 5


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
    """See that no finished run is of other code of the study's own specs.

    Raises:
        StudyError: if one is; nothing has been changed then.
    """
    changed = [run for run, record in _finished(store, runs) if _has_other_code(run, record)]
    if changed:
        spec = type(changed[0].spec).__name__
        raise StudyError(
            f"the code of {spec}",
            f"not that of {_count(changed)} in {store.root} ({_cells(changed)})",
            "the code that finished runs were made with",
            f"raise the `revision` of {spec} to run its cells anew, name another --out, or leave "
            "these cells out with --cells",
        )


def notes_on(study: Study, store: ResultStore, runs: Sequence[Run]) -> list[str]:
    """What to know before `runs` are done into the folder, one sentence each.

    Raises:
        StoredFileError: if the manifest is damaged.
    """
    manifest = stored_manifest(store)
    return [
        *_other_study(study, manifest),
        *_exchanged_names(study, manifest),
        *_changed_files(store, runs),
        *_unlike_data(study),
    ]


def _other_study(study: Study, manifest: Manifest | None) -> list[str]:
    if manifest is None or manifest.title == study.title:
        return []
    return [
        f"the folder was last used by another study, {manifest.title!r}: of its finished runs this "
        "one shows those of equal specs"
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
        f"names stand for other cells than when the study was last run ({_listed(exchanged)}): if "
        "cells are numbered, sort what they are numbered by"
    ]


def _changed_files(store: ResultStore, runs: Sequence[Run]) -> list[str]:
    changed: dict[str, list[Run]] = {}
    for run, record in _finished(store, runs):
        if run.code is not None and record.code is not None:
            files = changed_files(run.code.code, record.code)
            if files:
                changed.setdefault(", ".join(files), []).append(run)
    return [
        f"{files} differs from what {_count(those)} had ({_cells(those)})"
        for files, those in changed.items()
    ]


def _unlike_data(study: Study) -> list[str]:
    """Groups whose cells say themselves that their data differ."""
    data: dict[str, dict[str, str]] = {}
    for cell in study.cells:
        own = getattr(cell.spec, "data", None)
        if isinstance(own, Spec):
            data.setdefault(cell.group, {}).setdefault(own.to_json(), cell.name)
    return [
        f"cells of group {group} differ in their data: they are compared if they are tested on the "
        f"same ({_listed(list(names.values()))})"
        for group, names in data.items()
        if len(names) > 1
    ]


def _has_other_code(run: Run, record: Record) -> bool:
    if run.code is None or record.code is None:
        return False
    return record.spec_code != run.code.spec_code


def _finished(store: ResultStore, runs: Iterable[Run]) -> Iterable[tuple[Run, Record]]:
    """The runs that have a record; whoever needs a damaged one names it."""
    for run in runs:
        with suppress(StoredFileError):
            record = store.record(run.identity)
            if record is not None:
                yield run, record


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


def _count(runs: Sequence[Run]) -> str:
    return "1 finished run" if len(runs) == 1 else f"{len(runs):,} finished runs"


def _cells(runs: Iterable[Run]) -> str:
    return _listed(list(dict.fromkeys(run.labels[0] for run in runs)))


def _listed(labels: Sequence[str]) -> str:
    more = f" and {len(labels) - _SHOWN:,} more" if len(labels) > _SHOWN else ""
    return ", ".join(labels[:_SHOWN]) + more
