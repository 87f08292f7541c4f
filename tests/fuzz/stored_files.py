"""Readers of the files that a study stores: records, manifest, logs, checkpoints, vocabulary."""

import json
import shutil
from pathlib import Path

import numpy as np
import torch
from torch import nn

from fake.results import write_results
from fuzz.case import Case, Reader
from fuzz.formats import mutate_lines, mutate_safetensors
from fuzz.mutators import choose, mutate_bytes, mutate_json
from quatrain.report.build import load_report
from quatrain.report.resampling.bleu import resample_bleu
from quatrain.report.runs import ReportedRun
from quatrain.report.write import write_report
from quatrain.results import (
    CHECKPOINT,
    Comparison,
    Failure,
    Measurement,
    ResultStore,
    RunState,
    Session,
)
from quatrain.results.detection_matches import DetectionMatches
from quatrain.results.files import read_text
from quatrain.results.image_scores import IMAGE_SCORES, read_image_scores, write_image_scores
from quatrain.results.pixel_counts import PixelCounts
from quatrain.study.engines.jobs import JOBS, Job, keep_job, stored_jobs
from quatrain.study.progress import StudyWatch
from quatrain.study.protocol import Event
from quatrain.study.sessions import SESSIONS, read_sessions, write_sessions
from quatrain.study.sinks import RunLogs, numbers_of
from quatrain.study.status import study_status
from quatrain.tasks.translation import TranslationSpec, load_translator
from quatrain.tasks.translation.vocabulary import Vocabulary, VocabularySpec, train_vocabulary
from quatrain.training import checkpoint
from quatrain.training.log import NAME as LOG
from quatrain.training.log import MetricsLog, TrainingState
from quatrain.training.recipe import Recipe

_MUTATE = choose((6, mutate_json), (1, mutate_bytes))
_TENSORS = choose((4, mutate_safetensors), (1, mutate_bytes))
_TEXT = choose((3, mutate_lines), (1, mutate_bytes))
_FIELDS = {"device": "cpu", "threads": 2, "versions": {"torch": "2.14.1"}}


def _study(folder: Path) -> tuple[ResultStore, str]:
    """A small study of which one run has failed, and the identity of a finished run."""
    values = {
        ("self", "0010"): {0: {"accuracy": 71.0, "loss": 0.5}, 1: {"accuracy": 72.5, "loss": 0.4}},
        ("self", "0110"): {0: {"accuracy": 75.0, "loss": 0.3}, 1: {"accuracy": 74.5, "loss": 0.2}},
        ("self", "1111"): {},
    }
    compared = (Comparison(left="0110", right="0010", group="self"),)
    store = write_results(folder, values, comparisons=compared, lower_is_better={"loss": True})
    *_, failed = store.manifest().cells
    store.write_failure(failed.identities[0], _failure())
    return store, store.manifest().cells[0].identities[0]


def _failure() -> Failure:
    return Failure(reason="error", message="it ended", traceback="Traceback\n  1 / 0", step=3)


def _record(folder: Path) -> Case:
    store, identity = _study(folder)
    path = store.folder(identity) / "record.json"

    def read() -> None:
        StudyWatch(store).look()
        store.record(identity)
        store.all_records()

    return Case(path, (path.read_bytes(),), read)


def _manifest(folder: Path) -> Case:
    store, _ = _study(folder)
    path = store.root / "study.json"

    def read() -> None:
        study_status(store)
        StudyWatch(store).look()

    return Case(path, (path.read_bytes(),), read)


def _report(folder: Path) -> Case:
    """The report of a study with a mutated record, which the checks of records accepted."""
    case = _record(folder)

    def read() -> None:
        write_report(load_report(ResultStore(folder)), folder / "report")

    return Case(case.path, case.examples, read)


def _failure_file(folder: Path) -> Case:
    store, _ = _study(folder)
    *_, failed = store.manifest().cells
    path = store.folder(failed.identities[0]) / "failure.json"
    return Case(path, (path.read_bytes(),), lambda: (study_status(store), StudyWatch(store).look()))


def _lease(folder: Path) -> Case:
    """The lease of a run that is not done."""
    store, _ = _study(folder)
    *_, failed = store.manifest().cells
    identity = failed.identities[0]
    leases = store.folder(identity) / "attempts"
    with store.claim(identity):
        held = (leases / "1.json").read_bytes()
    released = (leases / "1.json").read_bytes()

    def read() -> None:
        store.state(identity)
        with store.claim(identity) as attempt:
            if attempt is not None:
                attempt.begin()
        for path in leases.iterdir():
            if path.name != "1.json":
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    return Case(leases / "1.json", (held, released), read)


def _measurement(folder: Path) -> Case:
    store, identity = _study(folder)
    path = store.folder(identity) / "measurement.json"
    measured = Measurement(median_seconds=0.1, spread_seconds=0.01, peak_bytes=100, **_FIELDS)
    counted = Measurement(cost={"paper_multiply_adds": 5.0}, **_FIELDS)
    examples = tuple(each.to_json().encode() for each in (measured, counted))
    return Case(path, examples, lambda: store.measurement(identity))


def _sessions(folder: Path) -> Case:
    (folder / CHECKPOINT).touch()
    write_sessions(folder, [Session(commit="0123abc", code={"a.py": "5d"}, **_FIELDS)] * 2)
    path = folder / SESSIONS
    return Case(path, (path.read_bytes(),), lambda: read_sessions(folder))


def _spec(folder: Path) -> Case:
    """spec.json of a run that is not done, whose steps `study watch` reads."""
    store, _ = _study(folder)
    *_, failed = store.manifest().cells
    store.clear_failure(failed.identities[0])
    path = store.folder(failed.identities[0]) / "spec.json"

    def read() -> None:
        StudyWatch(store).look()
        if path.exists():
            TranslationSpec.from_json(read_text(path, "move it away"))

    return Case(path, (TranslationSpec().to_json().encode(),), read)


def _log(folder: Path) -> Case:
    store, identity = _study(folder)
    run = store.folder(identity)
    lines = [{"step": n, "loss": 1 / n, "rate": 5.0, "seconds": 0.1 * n} for n in (5, 10, 15)]
    lines.insert(2, {"step": 10, "valid_accuracy": 50.5, "seconds": 1.5})
    content = "".join(json.dumps(line) + "\n" for line in lines).encode()

    def read() -> None:
        study_status(store)
        StudyWatch(store).look()
        if (run / LOG).stat().st_size < 10**6:
            for line in (run / LOG).read_bytes().split(b"\n"):
                numbers_of(line)
        try:
            assert load_report(store).curves is not None
        finally:
            MetricsLog(run, 10).write(11, loss=0.5)

    return Case(run / LOG, (content,), read)


class _Sink:
    """A sink that writes nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def begin(self, run: str, name: str) -> None:
        """Do nothing."""

    def write(self, run: str, step: int, values: object) -> None:
        """Do nothing."""

    def end(self, run: str) -> None:
        """Do nothing."""


def _written_steps(folder: Path) -> Case:
    """The file of a sink with the last step that was written."""
    store, identity = _study(folder)
    sink = _Sink(folder / "tensorboard")
    path = sink.folder / "written" / f"{identity[:16]}.json"
    path.parent.mkdir(parents=True)
    examples = (b'{"step": 10, "complete": false}', b'{"step": null, "complete": true}')
    done = Event(kind="done", identity=identity, label="self/0010")
    return Case(path, examples, lambda: RunLogs(store, sink).notify(done))


def _jobs(folder: Path) -> Case:
    """The jobs that were submitted to a scheduler."""
    store, _ = _study(folder)
    keep_job(store, Job(engine="slurm", name="quatrain-1a2b", workers=4, submitted="2026-11-30"))
    first = (folder / JOBS).read_bytes()
    keep_job(store, Job(engine="slurm", name="q-2", id="12", workers=1, submitted="2026-11-30"))
    examples = (first, (folder / JOBS).read_bytes())
    return Case(folder / JOBS, examples, lambda: [job.label for job in stored_jobs(store)])


def _objects() -> checkpoint.TrainingObjects:
    model, average = nn.Linear(3, 2), nn.Linear(3, 2)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cpu", enabled=True)
    return checkpoint.TrainingObjects(model, optimizer, average, scaler, {"rows": "5d"})


def _checkpoint(folder: Path) -> Case:
    objects = _objects()
    for parameter in objects.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    objects.optimizer.step()
    checkpoint.save(folder, TrainingState(step=3, batches=6, seconds=0.7), objects)
    path, recipe = folder / CHECKPOINT, Recipe(steps=20, warmup_steps=0)
    return Case(path, (path.read_bytes(),), lambda: checkpoint.load(folder, _objects(), recipe))


def _model(folder: Path) -> Case:
    checkpoint.save_model(folder, nn.Linear(3, 2))
    path = folder / checkpoint.MODEL
    return Case(path, (path.read_bytes(),), lambda: checkpoint.load_model(folder, nn.Linear(3, 2)))


def _translator(folder: Path) -> Case:
    """spec.json of a trained translator, which says how large its model is."""
    pairs = [("ein Hund", "a dog"), ("zwei Hunde", "two dogs")]
    vocabulary = train_vocabulary(pairs, VocabularySpec(size=300))
    vocabulary.save(folder / "vocabulary.json")
    spec = TranslationSpec()
    small = {"width": 8, "layers": 1, "feed_forward": 8}
    spec = spec.model_copy(update={"model": spec.model.model_copy(update=small)})
    checkpoint.save_model(folder, _Objective(spec.model.build(vocabulary.size)))
    return Case(folder / "spec.json", (spec.to_json().encode(),), lambda: load_translator(folder))


class _Objective(nn.Module):
    def __init__(self, translator: nn.Module) -> None:
        super().__init__()
        self.translator = translator


def _vocabulary(folder: Path) -> Case:
    path = folder / "vocabulary.json"
    pairs = [("ein Hund", "a dog"), ("zwei Hunde", "two dogs")]
    train_vocabulary(pairs, VocabularySpec(size=270)).save(path)

    def read() -> None:
        vocabulary = Vocabulary.load(path)
        vocabulary.decode(vocabulary.encode("zwei Hunde"))

    return Case(path, (path.read_bytes(),), read)


def _image_scores(folder: Path) -> Case:
    ids = np.arange(3)
    counts = np.arange(18, dtype=np.int32).reshape(3, 3, 2)
    zeros = np.zeros(3, np.int32)
    bits = np.ones(3, np.uint16)
    matches = DetectionMatches(
        ids, ("cat",), zeros, zeros, zeros, zeros, bits, 0 * bits, zeros.astype(np.uint8)
    )
    examples = []
    for scores in (PixelCounts(ids, ("sky", "road"), counts), matches):
        write_image_scores(folder, scores)
        examples.append((folder / IMAGE_SCORES).read_bytes())

    def read() -> None:
        scores = read_image_scores(folder)
        for metric in ("miou", "ap"):
            if scores is not None and scores.knows(metric):
                scores.scores(metric, np.ones((2, len(scores.image_ids))))

    return Case(folder / IMAGE_SCORES, tuple(examples), read)


def _hypotheses(folder: Path) -> Case:
    """The translations of a run, from which a report resamples BLEU."""
    store, identity = _study(folder)
    [record, *_] = [each for each in store.all_records() if each.identity == identity]
    fields = {"metrics": {"bleu": 100.0}, "signatures": {"bleu": "nrefs:1|tok:13a|smooth:exp"}}
    record = record.model_copy(update=fields)
    home = store.folder(identity)
    (home / "references.txt").write_text("a dog\ntwo dogs run in the park\n")
    run = ReportedRun(home, RunState.DONE, record, None, None)
    content = (home / "references.txt").read_bytes()
    return Case(home / "hypotheses.txt", (content,), lambda: resample_bleu([run]))


STORED_FILES = {
    "record": Reader(_record, _MUTATE),
    "manifest": Reader(_manifest, _MUTATE),
    "report": Reader(_report, _MUTATE),
    "failure": Reader(_failure_file, _MUTATE),
    "lease": Reader(_lease, _MUTATE),
    "measurement": Reader(_measurement, _MUTATE),
    "sessions": Reader(_sessions, _MUTATE),
    "spec": Reader(_spec, _MUTATE),
    "log": Reader(_log, choose((2, _TEXT), (2, mutate_bytes))),
    "jobs": Reader(_jobs, _MUTATE),
    "written steps": Reader(_written_steps, _MUTATE),
    "checkpoint": Reader(_checkpoint, _TENSORS),
    "model": Reader(_model, _TENSORS),
    "translator": Reader(_translator, _MUTATE),
    "vocabulary": Reader(_vocabulary, _MUTATE),
    "image scores": Reader(_image_scores, _TENSORS),
    "hypotheses": Reader(_hypotheses, _TEXT),
}
