import json
import os
import subprocess
import sys

import pytest

from quatrain.results import ResultStore
from quatrain.specs import MissingPackageError, StudyError
from quatrain.study import Event, load_study
from quatrain.study.sinks import SINKS, RunLogs, forward_logs, numbers_of, open_sinks

RUN = "ab" * 32


class Memory:
    """A sink that keeps what it is given."""

    def __init__(self, folder):
        self.folder = folder
        self.calls = []

    def begin(self, _run, name):
        self.calls.append(("begin", name))

    def write(self, _run, step, values):
        self.calls.append((step, dict(values)))

    def end(self, _run):
        self.calls.append("end")


def event(kind="progress", step=0, run=RUN):
    return Event(kind=kind, identity=run, label="self/w/o seed 0", step=step)


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


@pytest.fixture
def log(store):
    """Append lines to the log of the run."""
    path = store.folder(RUN) / "metrics.jsonl"
    path.parent.mkdir(parents=True)
    path.touch()

    def append(*lines, end="\n"):
        with path.open("a") as file:
            file.write("\n".join(map(json.dumps, lines)) + end)

    append.path = path
    return append


@pytest.fixture
def sink(tmp_path):
    return Memory(tmp_path / "sink")


def test_new_lines_are_written_once_and_a_line_that_is_being_written_later(store, sink, log):
    logs = RunLogs(store, sink)
    log({"step": 10, "loss": 2.0}, end="")
    logs.notify(event(step=10))
    assert sink.calls == []
    log(end="")
    log.path.write_text(log.path.read_text() + "\n")
    logs.notify(event(step=10))
    logs.notify(event(step=10))
    log({"step": 10, "valid_loss": 2.5}, {"step": 20, "loss": 1.0})
    logs.notify(event(step=20))
    assert sink.calls == [
        ("begin", "self/w/o seed 0"),
        (10, {"loss": 2.0}),
        (10, {"valid_loss": 2.5}),
        (20, {"loss": 1.0}),
    ]


def test_the_log_is_not_read_before_the_first_step_of_a_session(store, sink, log):
    """A resumed training first removes the lines after its checkpoint."""
    log({"step": 10, "loss": 2.0}, {"step": 20, "loss": 9.0})
    logs = RunLogs(store, sink)
    for each in (event("started"), event(step=0), event("note"), event("locked")):
        logs.notify(each)
    assert sink.calls == []


def test_a_resumed_run_continues(store, sink, log):
    log({"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5})
    first = RunLogs(store, sink)
    first.notify(event(step=20))
    log({"step": 30, "loss": 1.2})
    first.close()
    assert sink.calls[-2:] == [(30, {"loss": 1.2}), "end"]
    log.path.write_text("")
    log({"step": 10, "loss": 2.0}, {"step": 20, "loss": 1.5}, {"step": 40, "loss": 1.0})
    sink.calls.clear()
    RunLogs(store, sink).notify(event(step=40))
    assert sink.calls == [("begin", "self/w/o seed 0"), (40, {"loss": 1.0})]


def finished(finish, write_study):
    path = write_study("[cell('a')]", "(0,)")
    store = finish(path)
    (run,) = load_study(path).select()
    return store, run


def test_a_finished_run_ends_with_its_metrics_and_is_written_once(finish, write_study, sink):
    store, run = finished(finish, write_study)
    log = store.folder(run.identity) / "metrics.jsonl"
    log.write_text('{"step": 2, "loss": 3.0}\n')
    for kind in ("done", "skipped", "skipped"):
        RunLogs(store, sink).notify(run.event(kind))
    assert sink.calls == [
        ("begin", "one/a seed 0"), (2, {"loss": 3.0}), (4, {"final/score": 4.0}), "end"
    ]  # fmt: skip


def test_a_run_that_was_done_before_is_written(finish, write_study, sink):
    store, run = finished(finish, write_study)
    RunLogs(store, sink).notify(run.event("skipped"))
    assert (4, {"final/score": 4.0}) in sink.calls


def test_a_failed_run_without_a_log_opens_nothing(store, sink):
    RunLogs(store, sink).notify(event("failed"))
    assert sink.calls == []


DAMAGED = ["", "[]", "{}", '{"complete": false, "step": "x"}', "\0", "[" * 100_000]
DAMAGED.append('{"complete": false, "step": 1' + "0" * 400 + "}")


@pytest.mark.parametrize("state", DAMAGED)
def test_a_damaged_state_starts_from_the_first_line(store, sink, log, state):
    path = sink.folder / "written" / f"{RUN[:16]}.json"
    path.parent.mkdir(parents=True)
    path.write_text(state)
    log({"step": 10, "loss": 2.0})
    RunLogs(store, sink).notify(event(step=10))
    assert sink.calls[-1] == (10, {"loss": 2.0})


@pytest.mark.parametrize(
    ("line", "numbers"),
    [
        (b'{"step": 3, "loss": 1, "rate": 2.5}', (3, {"loss": 1.0, "rate": 2.5})),
        (b'{"step": 3, "x": NaN, "y": Infinity, "z": "text", "w": true, "v": null}', (3, {})),
        (b'{"step": 3, "huge": 1' + b"0" * 400 + b"}", (3, {})),
        (b'{"step": -1, "loss": 1}', (0, {})),
        (b'{"step": true, "loss": 1}', (0, {})),
        (b'{"loss": 1}', (0, {})),
        (b"[1]", (0, {})),
        (b"", (0, {})),
        (b"\xff", (0, {})),
        (b"[" * 100_000, (0, {})),
    ],
)
def test_numbers_are_those_that_are_finite(line, numbers):
    assert numbers_of(line) == numbers


def test_a_sink_that_fails_ends_with_one_note(store, sink, log, tmp_path):
    class Broken(Memory):
        def write(self, *_):
            raise OSError("the disk\nis full")

    notes = []
    log({"step": 10, "loss": 2.0})
    broken = Broken(tmp_path / "broken")
    with forward_logs(store, {"bad": broken, "good": sink}, notes.append) as notify:
        notify(event(step=10))
        notify(event(step=10))
    assert notes == ["no more logs to bad: the disk is full; the study continues"]
    assert sink.calls[-1] == "end"


def test_an_unknown_name_is_one_sentence(tmp_path):
    with pytest.raises(StudyError) as error:
        open_sinks(["wandb"], tmp_path)
    assert str(error.value) == "--log-to 'wandb' is unknown; use tensorboard or trackio"
    assert error.value.field == "--log-to"
    assert open_sinks([], tmp_path) == {}


@pytest.mark.parametrize("name", SINKS)
def test_a_missing_package_is_one_sentence_with_the_command(name, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingPackageError) as error:
        open_sinks([name, name], tmp_path)
    assert str(error.value) == f'{name} is not installed; run pip install "quatrain[{name}]"'


def study_logs(finish, write_study):
    """A finished run with a log, and its run object."""
    store, run = finished(finish, write_study)
    lines = [{"step": step, "loss": 4.0 - step, "valid_score": step / 10} for step in (1, 2, 3)]
    log = store.folder(run.identity) / "metrics.jsonl"
    log.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return store, run


def test_tensorboard_reads_what_was_written(finish, write_study):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    store, run = study_logs(finish, write_study)
    notes = []
    for kind in ("done", "skipped"):
        sinks = open_sinks(["tensorboard"], store.root)
        with forward_logs(store, sinks, notes.append) as notify:
            notify(run.event(kind))
    assert notes == []
    [folder] = [each for each in (store.root / "tensorboard").iterdir() if each.name != "written"]
    assert folder.name == f"one-a-seed-0-{run.identity[:8]}"
    events = EventAccumulator(str(folder)).Reload()
    assert sorted(events.Tags()["scalars"]) == ["final/score", "loss", "valid_score"]
    assert [(x.step, x.value) for x in events.Scalars("loss")] == [(1, 3.0), (2, 2.0), (3, 1.0)]
    assert [(x.step, x.value) for x in events.Scalars("final/score")] == [(4, 4.0)]


TRACKIO = """
import json, socket, sys
from pathlib import Path
def refuse(*_, **__):
    raise OSError("no network in this test")
socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
from quatrain.results import ResultStore
from quatrain.study import Event
from quatrain.study.sinks import forward_logs, open_sinks
store, notes = ResultStore(Path(sys.argv[1])), []
for kind in ("done", "skipped"):
    with forward_logs(store, open_sinks(["trackio"], store.root), notes.append) as notify:
        notify(Event(kind=kind, identity=sys.argv[2], label="one/a seed 0"))
import trackio
from trackio.sqlite_storage import SQLiteStorage
[run] = trackio.Api().runs("out")
lines = SQLiteStorage.get_logs("out", run.name)
for line in lines:
    del line["timestamp"]
print(json.dumps([notes, run.name, run.config["_Group"], lines]))
"""


def test_trackio_reads_what_was_written_without_a_network(finish, write_study):
    pytest.importorskip("trackio", reason="trackio is not installed (it needs pillow < 13)")
    store, run = study_logs(finish, write_study)
    environment = {key: x for key, x in os.environ.items() if not key.startswith("TRACKIO")}
    written = subprocess.run(
        [sys.executable, "-c", TRACKIO, store.root, run.identity],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (written.returncode, written.stdout.count("\n")) == (0, 1), written.stderr
    assert json.loads(written.stdout) == [
        [],
        "one/a seed 0",
        "one",
        [
            *({"loss": 4.0 - x, "valid_score": x / 10, "step": x} for x in (1, 2, 3)),
            {"final/score": 4.0, "step": 4},
        ],
    ]
    assert [path.name for path in (store.root / "trackio").glob("*.db")] == ["out.db"]
