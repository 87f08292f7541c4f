"""Open a finished run again: its task, and its trained model.

with reopen(Path("runs/numerals_terms/runs/0123456789abcdef")) as run:
    run.task.evaluate(run.objective, folder)
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, cast

from quatrain.results import Record, ResultStore, changed_files
from quatrain.results.files import read_regular
from quatrain.specs import DataError, Spec, StudyError, identity
from quatrain.study.grid import TaskSpec
from quatrain.study.load import load_study

if TYPE_CHECKING:
    from quatrain.training import Task

_PACKAGES = {
    "TranslationSpec": "quatrain.tasks.translation",
    "DetectionSpec": "quatrain.tasks.detection",
    "SegmentationSpec": "quatrain.tasks.segmentation",
    "ProbeSpec": "quatrain.tasks.probes",
}
"""Where the library's own task specs are."""


@dataclass(frozen=True)
class ReopenedRun:
    """A finished run.

    Args:
        store: the results folder of its study.
        record: the record of the run.
        spec: the task spec of the run.
        task: the task, with its data.
        objective: the trained objective, in evaluation mode.
        folder: a temporary folder for files of the task.
        data: the folder of data.
    """

    store: ResultStore
    record: Record
    spec: Spec
    task: "Task"
    objective: Any
    folder: Path
    data: Path | None

    @property
    def metric(self) -> str:
        """The primary metric of the study, or the first of the record without a manifest."""
        if (self.store.root / "study.json").is_file():
            return self.store.manifest().metric
        return next(iter(self.record.metrics))

    def open(self, spec: Spec) -> "Task":
        """The task of another spec on the same data."""
        return cast("TaskSpec", spec).open(self.data, self.folder, self.record.seed)


@contextmanager
def reopen(
    folder: Path, *, study: Path | None = None, data: Path | None = None, device: str = "cpu"
) -> Iterator[ReopenedRun]:
    """The finished run in `folder`, within the block; nothing in its folder is changed.

    Args:
        folder: a folder of `runs/` in the results of a study, with record.json and weights.
        study: the study file; needed only for specs that it defines itself.
        data: the folder of data, for tasks that read one.
        device: the device of the model.

    Raises:
        StudyError: if there is no finished run, its spec is of a study file that is not given, or
            of another version.
        StoredFileError: if its weights are missing or damaged.
        DataError: if the data are not those of the run.
    """
    from quatrain.training import load_model

    record = _read_record(folder)
    spec = _read_spec(record, study)
    with TemporaryDirectory() as temporary:
        task = cast("TaskSpec", spec).open(data, Path(temporary), record.seed)
        changed = changed_files(task.data_hashes, record.data)
        if changed:
            names = ", ".join(changed)
            raise DataError(f"{names} changed since the run; use the data of the run", "data")
        objective = task.build()
        load_model(folder, objective)
        objective = objective.to(device).eval()
        store = ResultStore(folder.absolute().parents[1])
        yield ReopenedRun(store, record, spec, task, objective, Path(temporary), data)


def spec_of(record: Record, kind: type[Spec]) -> Spec:
    """The spec of a record, as this class."""
    return kind.from_json(json.dumps(record.spec))


def _read_record(folder: Path) -> Record:
    path = folder / "record.json"
    remedy = "move the folder away and run the study again"
    content = read_regular(path, remedy)
    if content is None:
        remedy = "give the folder of a finished run, such as runs/STUDY/runs/0123456789abcdef"
        raise StudyError(f"{folder} has no record.json; {remedy}", "run folder")
    return Record.from_json(content, remedy)


def _read_spec(record: Record, study: Path | None) -> Spec:
    if study is not None:
        return load_study(study).find(record.identity, record.seed).spec
    name = record.spec_name
    if name not in _PACKAGES:
        message = f"the run has a {name}, which a study file defines; give the file with --study"
        raise StudyError(message, "study")
    spec = spec_of(record, getattr(import_module(_PACKAGES[name]), name))
    if identity(spec, record.seed) != record.identity:
        message = f"the {name} of the run has another meaning in this version of quatrain"
        raise StudyError(f"{message}; use the version that trained it", "spec")
    return spec
