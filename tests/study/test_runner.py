import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
import torch

from quatrain.results import ResultStore, RunState
from quatrain.results.attempts import LEASE_SECONDS
from quatrain.specs import StudyError
from quatrain.study import Selection, load_study, run_study


def diary(store, run):
    return (store.files(run.identity) / "diary.txt").read_text().splitlines()


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def test_every_run_is_executed_once(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=3)]")
    first = run_study(path, out, jobs=2, command=command)
    second = run_study(path, out, jobs=2, command=command)
    store, runs = ResultStore(out), load_study(path).select()
    assert (len(first.done), len(first.skipped), first.failed) == (4, 0, [])
    assert (len(second.done), len(second.skipped), second.failed) == (0, 4, [])
    assert all(len(diary(store, run)) == 1 for run in runs)
    assert [store.record(run.identity).metrics["score"] for run in runs] == [4, 12, 8, 24]


def test_a_record_has_the_provenance_of_the_run(write_study, command, out):
    path = write_study("[cell('a', weight=2)]", seeds="(5,)")
    run_study(path, out, threads=1, command=command)
    record = ResultStore(out).record(load_study(path).select()[0].identity)
    assert (record.cell, record.seed, record.spec_name) == ("one/a", 5, "FakeSpec")
    assert record.spec == {"steps": 4, "weight": 2, "trouble": ""}
    assert {"python", "torch", "torchvision", "quatrain", "numpy"} <= {*record.versions}
    assert record.device.startswith("cpu (")
    assert (record.threads, record.steps, record.seconds) == (1, 4, 0.5)
    assert record.artifacts == ("answers.txt",)
    assert record.data == {"numbers.txt": "ab" * 32}


def test_cells_with_equal_specs_share_one_run(write_study, command, out):
    path = write_study("[cell('x', 'one'), cell('y', 'two')]", seeds="(0,)")
    summary = run_study(path, out, command=command)
    first, second = ResultStore(out).manifest().cells
    assert len(summary.done) == 1
    assert first.identities == second.identities


def test_a_failed_run_does_not_stop_the_others(write_study, command, out):
    path = write_study("[cell('bad', trouble='error'), cell('good')]")
    summary = run_study(path, out, jobs=1, command=command)
    assert sorted(event.label for event in summary.done) == ["one/good seed 0", "one/good seed 1"]
    assert [event.message for event in summary.failed] == ["the loss has no value"] * 2
    failure = ResultStore(out).failure(summary.failed[0].identity)
    assert failure.reason == "error"
    assert failure.step == 2
    assert "ValueError" in failure.traceback


def test_a_failed_run_is_repeated_only_on_request(write_study, command, out):
    path = write_study("[cell('bad', trouble='error')]", seeds="(0,)")
    run_study(path, out, command=command)
    left = run_study(path, out, command=command)
    store, run = ResultStore(out), load_study(path).select()[0]
    assert (len(left.failed), len(diary(store, run))) == (1, 1)
    again = run_study(path, out, select=Selection(retry_failed=True), command=command)
    assert (len(again.failed), diary(store, run)[1].startswith("from 2")) == (1, True)


def test_the_run_of_a_killed_worker_resumes_and_the_others_continue(write_study, command, out):
    path = write_study("[cell('bad', trouble='killed once'), cell('good')]", seeds="(0,)")
    summary = run_study(path, out, jobs=1, command=command)
    store, (bad, good) = ResultStore(out), load_study(path).select()
    assert [event.identity for event in summary.done] == [good.identity]
    assert [(e.reason, "signal 9" in e.message) for e in summary.failed] == [("killed", True)]
    assert str(out / "worker-1.log") in summary.failed[0].message
    resumed = run_study(path, out, command=command)
    assert [event.identity for event in resumed.done] == [bad.identity]
    assert store.record(bad.identity).metrics == {"score": 4}
    assert [line.split(" in ")[0] for line in diary(store, bad)] == ["from 0", "from 2"]
    assert "output of a task" in (out / "worker-1.log").read_text()


def test_two_runners_on_one_folder_share_the_runs(write_study, command, out):
    path = write_study("[cell(str(n), weight=n + 1, trouble='slow') for n in range(3)]")
    summaries = []

    def work():
        summaries.append(run_study(path, out, jobs=2, command=command))

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    store, runs = ResultStore(out), load_study(path).select()
    assert all(len(diary(store, run)) == 1 for run in runs)
    assert [len(s.done) + len(s.skipped) for s in summaries] == [6, 6]
    assert sum(len(s.done) for s in summaries) == 6


def test_the_runner_waits_for_a_run_of_another_process(write_study, command, out):
    path = write_study("[cell('a')]", seeds="(0,)")
    store, run = ResultStore(out), load_study(path).select()[0]
    summaries = []
    runner = threading.Thread(
        target=lambda: summaries.append(run_study(path, out, command=command))
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(out), run.identity], stdin=subprocess.PIPE, stdout=-1
    )
    holder.stdout.readline()
    runner.start()
    while not (out / "study.json").exists():
        time.sleep(0.01)
    assert store.state(run.identity) is RunState.RUNNING
    holder.communicate()
    runner.join()
    assert [event.identity for event in summaries[0].done] == [run.identity]


HOLD = """
import sys
from pathlib import Path
from quatrain.results import ResultStore
with ResultStore(Path(sys.argv[1])).claim(sys.argv[2]):
    print("locked", flush=True)
    sys.stdin.read()
"""


RUN = """
import signal, sys
from pathlib import Path
from quatrain.study import run_study
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run_study(Path(sys.argv[1]), Path(sys.argv[2]), command=sys.argv[3:])
"""


def test_a_runner_that_does_not_wait_leaves_the_runs_of_others(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    theirs, own = load_study(path).select()
    with ResultStore(out).claim(theirs.identity):
        summary = run_study(path, out, command=command, wait=False, logs=out / "logs" / "me")
    assert [event.identity for event in summary.events] == [own.identity]
    assert (out / "logs" / "me" / "worker-1.log").exists()


def test_a_runner_that_does_not_wait_takes_over_from_a_machine_that_is_lost(
    write_study, command, out
):
    path = write_study("[cell('a')]", seeds="(0,)")
    (run,) = load_study(path).select()
    lost = ResultStore(out).folder(run.identity) / "attempts" / "1.json"
    lost.parent.mkdir(parents=True)
    lost.write_text("{}")
    almost = time.time() - LEASE_SECONDS + 2
    os.utime(lost, (almost, almost))
    assert len(run_study(path, out, command=command, wait=False).done) == 1


def test_a_runner_that_does_not_wait_executes_runs_that_others_gave_up(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=2, trouble='slow')]", seeds="(0,)")
    theirs, own = load_study(path).select()
    with ExitStack() as others:
        others.enter_context(ResultStore(out).claim(theirs.identity))

        def notify(event):
            if event.identity == own.identity:
                others.close()

        summary = run_study(path, out, jobs=1, command=command, wait=False, notify=notify)
    assert [event.identity for event in summary.done] == [own.identity, theirs.identity]


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGINT,
        *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGTERM, signal.SIGUSR1)),
    ],
)
def test_an_interrupted_runner_stops_its_workers_and_the_next_one_resumes(
    write_study, command, out, number
):
    path = write_study("[cell('a', steps=40, trouble='slow')]", seeds="(0,)")
    runner = subprocess.Popen(
        [sys.executable, "-c", RUN, str(path), str(out), *command], stderr=subprocess.PIPE
    )
    store, run = ResultStore(out), load_study(path).select()[0]
    while store.state(run.identity) is not RunState.RUNNING or not checkpoint(store, run).exists():
        time.sleep(0.01)
    os.kill(runner.pid, number)
    runner.communicate()
    assert store.state(run.identity) is RunState.PAUSED
    reached = json.loads(checkpoint(store, run).read_text())[0]
    summary = run_study(
        write_study("[cell('a', steps=40, trouble='slow')]", "(0,)"), out, command=command
    )
    assert len(summary.done) == 1
    assert diary(store, run)[1].startswith(f"from {reached} ")
    assert store.record(run.identity).metrics == {"score": 40}


def checkpoint(store, run):
    return store.files(run.identity) / "checkpoint.safetensors"


def test_a_worker_whose_runner_is_killed_ends_too(write_study, command, out):
    path = write_study("[cell('a', steps=400, trouble='slow')]", seeds="(0,)")
    runner = subprocess.Popen([sys.executable, "-c", RUN, str(path), str(out), *command])
    store, run = ResultStore(out), load_study(path).select()[0]
    while not checkpoint(store, run).exists():
        time.sleep(0.01)
    runner.kill()
    runner.wait()
    while store.state(run.identity) is RunState.RUNNING:
        time.sleep(0.01)
    assert store.state(run.identity) is RunState.PAUSED


def test_changed_code_is_refused_before_any_file_is_written(write_study, command, finish, out):
    path = write_study("[cell('a')]", seeds="(0,)")
    finish(path)
    manifest = (out / "study.json").read_text()
    path.write_text(path.read_text().replace("float(objective)", "-float(objective)"))
    with pytest.raises(StudyError):
        run_study(path, out, command=command)
    assert (out / "study.json").read_text() == manifest
    assert list(out.glob("worker-*.log")) == []


RANDOM = {
    "spec": "[cell('a', weight=__import__('os').getpid())]",
    "names": "[cell(str(__import__('os').getpid() + n), weight=n) for n in (1, 2)]",
}


@pytest.mark.parametrize("cells", RANDOM.values(), ids=RANDOM)
def test_a_grid_that_differs_each_time_it_is_loaded_is_an_external_failure(
    write_study, command, out, cells
):
    summary = run_study(write_study(cells), out, jobs=1, command=command)
    assert summary.events == [summary.external_failure]
    assert "use a fixed seed" in summary.external_failure.message
    assert list(out.glob("runs/*/record.json")) == []


def test_relative_paths_hold_if_the_study_file_changes_the_folder(
    write_study, command, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    path = write_study("[cell('a')]", seeds="(0,)")
    (tmp_path / "elsewhere").mkdir()
    path.write_text(f"import os\nos.chdir({str(tmp_path / 'elsewhere')!r})\n" + path.read_text())
    summary = run_study(Path(path.name), Path("out"), command=command)
    assert len(summary.done) == 1
    assert Path.cwd() == tmp_path
    assert len(list(tmp_path.glob("out/runs/*/record.json"))) == 1


def test_a_damaged_checkpoint_is_reported_and_the_other_runs_continue(write_study, command, out):
    path = write_study("[cell('a', trouble='damaged'), cell('b')]", seeds="(0,)")
    summary = run_study(path, out, jobs=1, command=command)
    assert [event.label for event in summary.done] == ["one/b seed 0"]
    assert ["delete it" in event.message for event in summary.failed] == [True]
    assert summary.external_failure is None
    assert ResultStore(out).failure(summary.failed[0].identity) is None


def test_after_an_external_failure_no_further_run_is_started(write_study, command, out):
    path = write_study("[cell('a', trouble='data'), cell('b'), cell('c', weight=2)]", seeds="(0,)")
    summary = run_study(path, out, jobs=1, command=command)
    assert summary.external_failure is summary.failed[0]
    assert ResultStore(out).failure(summary.failed[0].identity) is None
    assert [event.label for event in summary.events] == ["one/a seed 0"]
    assert len(run_study(path, out, data=out, command=command).done) == 3


def test_a_folder_that_cannot_be_created_is_an_error(write_study, command, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError):
        run_study(write_study("[cell('a')]"), tmp_path / "file" / "out", command=command)


def test_relative_paths_hold_if_a_task_changes_the_folder(
    write_study, command, tmp_path, monkeypatch
):
    write_study("[cell('a', trouble='folder'), cell('b', weight=2)]", seeds="(0,)")
    monkeypatch.chdir(tmp_path)
    summary = run_study(Path("a_study.py"), Path("out"), jobs=1, command=command)
    store = ResultStore(tmp_path / "out")
    assert [store.state(event.identity) for event in summary.done] == [RunState.DONE] * 2
    log = (tmp_path / "out" / "worker-1.log").read_text(encoding="utf-8")
    assert log.count(f"in {tmp_path}") == 2  # also after the first run changed it


FALSE_EVENTS = """
import json, os, sys
for line in sys.stdin:
    event = {"kind": KIND, "identity": json.loads(line)["identity"], "step": 4}
    other = dict(event, identity="0" * 64)
    for each in (other, event):
        os.write(int(sys.argv[-1]), json.dumps(each).encode() + b"\\n")
"""


@pytest.mark.parametrize("kind", ["done", "skipped"])
def test_a_run_without_a_record_is_a_failure(write_study, command, out, kind):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    command_of_false_events = (sys.executable, "-c", FALSE_EVENTS.replace("KIND", repr(kind)))
    summary = run_study(path, out, jobs=1, command=command_of_false_events)
    assert [(e.kind, e.reason, e.step) for e in summary.events] == [("failed", "error", 4)] * 2
    for event in summary.failed:
        assert f"no record in {ResultStore(out).folder(event.identity)}" in event.message
    again = run_study(path, out, select=Selection(retry_failed=True), command=command)
    assert len(again.done) == 2


def test_a_budget_starts_compared_cells_first_and_leaves_out_what_is_too_long(
    write_study, command, out
):
    pair = "[Comparison(left='c', right='b', group='one')]"
    cells = "[cell(name, weight=n, trouble='slow') for n, name in enumerate('abc', 1)]"
    path = write_study(cells, "(0,)", pair)
    started = []

    def notify(event):
        if event.kind == "started":
            started.append(event.label)

    summary = run_study(path, out, jobs=1, command=command, budget=600, notify=notify)
    assert started == ["one/c seed 0", "one/b seed 0", "one/a seed 0"]
    assert summary.left_out == []
    more = run_study(
        path, out, jobs=1, command=command, budget=0.3, select=Selection(seeds=[0, 1, 2])
    )
    assert (len(more.skipped), len(more.done)) == (3, 0)
    assert sorted(run.label for run in more.left_out) == [
        f"one/{name} seed {seed}" for name in "abc" for seed in (1, 2)
    ]
    assert all(run.seconds >= 0.5 for run in more.left_out)
    manifest = ResultStore(out).manifest()
    assert all(len(cell.identities) == 3 for cell in manifest.cells)


def test_while_no_duration_is_known_one_run_of_each_worker_starts(write_study, command, out):
    path = write_study("[cell('a', trouble='slow')]", "(0, 1, 2)")
    summary = run_study(path, out, jobs=1, command=command, budget=0.05)
    assert len(summary.done) + len(summary.left_out) == 3
    assert len(summary.done) <= 1


def test_runs_that_failed_before_are_reported_and_not_left_out(write_study, command, out):
    path = write_study("[cell('a', trouble='error'), cell('b')]", "(0,)")
    run_study(path, out, command=command)
    summary = run_study(path, out, command=command, budget=1e-9)
    assert ([event.label for event in summary.failed], summary.left_out) == (["one/a seed 0"], [])
    assert len(summary.skipped) == 1


def test_an_invalid_budget_is_an_error_before_any_run(write_study, command, out):
    with pytest.raises(StudyError) as error:
        run_study(write_study("[cell('a')]"), out, command=command, budget=-1)
    assert error.value.field == "budget"
    assert not (out / "study.json").exists()


def test_fewer_gpus_than_processes_are_an_error_before_any_run_that_is_left(
    write_study, command, out, monkeypatch, finish
):
    monkeypatch.setattr("quatrain.training.devices.check_device", torch.device)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    path = write_study("[Cell(name='a', group='one', spec=TrainingSpec(recipe=Recipe()))]")
    recipe = "class Recipe(Spec):\n    processes: int = 2\n\n"
    spec = "class TrainingSpec(FakeSpec):\n    recipe: Recipe = Recipe()\n\n"
    path.write_text(path.read_text().replace("study = ", f"{recipe}{spec}study = "))
    with pytest.raises(StudyError) as error:
        run_study(path, out, device="cuda:0", command=command)
    assert error.value.field == "Recipe.processes"
    assert not (out / "study.json").exists()
    finish(path)
    assert len(run_study(path, out, device="cuda:0", command=command).skipped) == 2
