"""The manifest of a study in its folder, which several runners may write.

Each runner writes the manifest of its study file when it starts. Before it ends, another runner may
write the manifest of an edited file or of other `--seeds`: at its end a runner only adds its runs
to the stored manifest.
"""

from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from quatrain.results import Manifest, ManifestCell, ResultStore, RunState
from quatrain.results.record import StoredModel
from quatrain.specs import QuatrainError, StudyError
from quatrain.study.grid import Run, Study

Model = TypeVar("Model", bound=StoredModel)

_LOCK_SECONDS = 2.0
"""After this time a process that waits for the lock looks whether it still has to write."""

_LASTING = {RunState.DONE, RunState.RUNNING}
"""States of runs that stay in the manifest when the study no longer has their seed."""


@contextmanager
def maintained_manifest(store: ResultStore, study: Study, runs: Sequence[Run]) -> Generator[None]:
    """Write the manifest of `study`; at the end of the block, also after an error, add `runs`."""
    _update(store, lambda stored: _new(store, study, runs, stored))
    try:
        yield
    except BaseException as error:
        try:
            _add(store, study, runs)
        except (QuatrainError, OSError) as problem:
            error.add_note(f"The runs could not be added to study.json: {problem}")
        raise
    _add(store, study, runs)


def stored_manifest(store: ResultStore) -> Manifest | None:
    """The manifest of the folder, or None if no study was run into it."""
    try:
        return store.manifest()
    except StudyError:
        return None


def runs_of_manifest(study: Study, store: ResultStore) -> list[Run]:
    """The runs of the study's cells with seeds that the manifest has and the study file has not."""
    manifest = stored_manifest(store)
    seeds = {cell.label: cell.identities for cell in manifest.cells} if manifest else {}
    return list(
        study.runs(
            (seed, cell)
            for cell in study.cells
            for seed in seeds.get(cell.label, {})
            if seed not in study.seeds_for(cell)
        )
    )


def runs_of_study(study: Study, store: ResultStore, runs: Iterable[Run]) -> list[Run]:
    """Each of `runs` and of the runs of the study and of its manifest, seed by seed."""
    every = [*study.select(), *runs_of_manifest(study, store), *runs]
    distinct = {run.identity: run for run in every}
    return sorted(distinct.values(), key=lambda run: run.seed)


def _update(store: ResultStore, change: Callable[[Manifest | None], Manifest]) -> None:
    """Replace the stored manifest by its `change`, with a lock only if the two differ.

    Of hundreds of workers that start at once, the first writes, and the others need no lock.
    """
    while True:
        stored = stored_manifest(store)
        if change(stored) == stored:
            return
        with store.lock_manifest(_LOCK_SECONDS) as is_locked:
            if is_locked:
                store.write_manifest(change(stored_manifest(store)))
                return


def _new(
    store: ResultStore, study: Study, runs: Sequence[Run], stored: Manifest | None
) -> Manifest:
    """The manifest of `study` with `runs` and the lasting runs of other seeds."""
    earlier = runs_of_manifest(study, store)
    lasting = [run for run in earlier if store.state(run.identity) in _LASTING]
    code = None if study.code is None else study.code.files
    manifest = study.manifest([*runs, *lasting])
    manifest = manifest.model_copy(update={"code": code, "looks": _looks(manifest, store, stored)})
    return _with_unknown_fields(manifest, stored)


def _looks(manifest: Manifest, store: ResultStore, stored: Manifest | None) -> tuple[int, ...]:
    """The numbers of finished seeds at which seeds were added, the present addition included."""
    if stored is None:
        return ()
    finished = max(
        sum(store.state(run) is RunState.DONE for run in cell.identities.values())
        for cell in stored.cells
    )
    before, now = (max(len(cell.identities) for cell in m.cells) for m in (stored, manifest))
    added = now > before and finished > 1
    return (*stored.looks, finished) if added else stored.looks


def _add(store: ResultStore, study: Study, runs: Sequence[Run]) -> None:
    """Add the runs that have started to the stored manifest, in the cells that it still has."""
    started: dict[str, dict[int, str]] = {}
    for run in runs:
        if store.state(run.identity) is not RunState.ABSENT:
            for label in run.labels:
                started.setdefault(label, {})[run.seed] = run.identity

    def added(stored: Manifest | None) -> Manifest:
        if stored is None:
            return _new(store, study, runs, None)
        cells = tuple(_extended(cell, study, started) for cell in stored.cells)
        return stored.model_copy(update={"cells": cells})

    _update(store, added)


def _extended(
    stored: ManifestCell, study: Study, started: Mapping[str, Mapping[int, str]]
) -> ManifestCell:
    """A stored cell with the runs of the study's cell of its name, if both have the same spec."""
    if stored.label not in started:
        return stored
    (cell,) = (cell for cell in study.cells if cell.label == stored.label)
    if any(run != study.identity(cell, seed) for seed, run in stored.identities.items()):
        return stored
    identities = dict(sorted({**stored.identities, **started[stored.label]}.items()))
    return stored.model_copy(update={"identities": identities})


def _with_unknown_fields(model: Model, stored: StoredModel | None) -> Model:
    """The model with the fields of the stored one that only a newer version knows, nested too."""
    update: dict[str, object] = {} if stored is None else dict(stored.model_extra or {})
    for name, value in model:
        before = getattr(stored, name, None)
        if isinstance(value, StoredModel) and isinstance(before, StoredModel):
            update[name] = _with_unknown_fields(value, before)
        elif isinstance(value, tuple) and isinstance(before, tuple):
            by_key = {_key(part): part for part in before}
            update[name] = tuple(
                _with_unknown_fields(part, by_key.get(_key(part))) for part in value
            )
    return model.model_copy(update=update)


def _key(model: StoredModel) -> tuple[object, ...]:
    """The fields that name a cell or a comparison in a manifest."""
    return tuple(getattr(model, name, None) for name in ("group", "name", "left", "right"))
