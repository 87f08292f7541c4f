"""Tasks that misbehave, disks that fail and clocks that jump: a sentence, and nothing is lost."""

import os
import subprocess
import time

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.results import ResultStore
from quatrain.specs import QuatrainError, StudyError
from quatrain.study import run_study, worker_log


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


def call(*words):
    """The exit status of a command, and its output or the sentence of its error."""
    try:
        done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    except QuatrainError as error:
        return 2, str(error)
    return done.exit_code, done.output


def states(out):
    return [line.split()[3] for line in call("study", "status", out)[1].splitlines()[1:-1]]


LOUD = """
class Loud(FakeSpec):
    def open(self, data, folder, seed):
        for number in range(40_000):
            print(f"{number:06} " + 42 * ".")
        return super().open(data, folder, seed)

"""


def test_the_log_of_a_task_that_prints_without_end_stays_short(
    write_study, command, out, monkeypatch
):
    monkeypatch.setattr(worker_log, "LOG_LIMIT", 2**18)
    path = write_study("[Cell(name='a', group='one', spec=Loud()), cell('b')]", seeds="(0,)")
    path.write_text(path.read_text().replace("study = ", f"{LOUD}study = "))
    assert len(run_study(path, out, jobs=1, command=command).done) == 2
    log = out / "worker-1.log"
    worker_log.shorten_log(log)
    assert log.stat().st_size <= 2**18
    lines = log.read_text().splitlines()
    assert lines[0].startswith("000000 ")
    assert "output of a task" in lines[-2]
    assert any("bytes left out" in line for line in lines)


ENDING = """
class EndingTask(Task):
    def evaluate(self, objective, folder):
        import os
        marker = folder.parents[1] / "ended"
        if not marker.exists():
            marker.touch()
            os._exit(0)
        return super().evaluate(objective, folder)

class Ending(FakeSpec):
    def open(self, data, folder, seed):
        return EndingTask(self, folder, seed)

"""


def test_a_worker_that_exits_with_status_0_in_the_middle_of_a_run(write_study, command, out):
    path = write_study("[Cell(name='a', group='one', spec=Ending()), cell('b')]", seeds="(0,)")
    path.write_text(path.read_text().replace("study = ", f"{ENDING}study = "))
    summary = run_study(path, out, jobs=1, command=command)
    assert [event.label for event in summary.done] == ["one/b seed 0"]
    assert [event.reason for event in summary.failed] == ["killed"]
    assert "ended with exit status 0" in summary.failed[0].message
    again = run_study(path, out, jobs=1, command=command)
    assert [event.label for event in again.done] == ["one/a seed 0"]


EDITING = """
class Editing(FakeSpec):
    def open(self, data, folder, seed):
        import os, pathlib, sys
        path = pathlib.Path(sys.modules[type(self).__module__].__file__)
        path.write_text(path.read_text().replace(OLD, NEW))
        os.kill(os.getpid(), 9)

"""


@pytest.mark.parametrize(
    ("old", "new", "done", "problem"),
    [
        ("Does it count?", "Is this a new question?", 2, None),
        ("cell('c')", "cell('c', steps=9)", 1, "the study file defines other cells"),
        ("cell('c')", "cell('c'", 0, "a_study.py line"),
        ("self, data, folder", "self, data, directory", 0, "the code of FakeSpec changed"),
    ],
)
def test_a_study_file_that_is_edited_while_it_runs(
    write_study, command, out, old, new, done, problem
):
    cells = "Cell(name='a', group='one', spec=Editing()), cell('b', weight=2), cell('c')"
    path = write_study(f"[{cells}]", seeds="(0,)")
    source = path.read_text()
    edit = EDITING.replace("OLD", repr(old)).replace("NEW", repr(new))
    path.write_text(source.replace("study = ", f"{edit}study = "))
    summary = run_study(path, out, jobs=1, command=command)
    assert len(summary.done) == done
    assert summary.failed[0].reason == "killed"
    failure = summary.external_failure
    assert (failure is None) == (problem is None)
    assert failure is None or (problem in failure.message and "\n" not in failure.message)
    path.write_text(source.replace("spec=Editing()", "spec=FakeSpec(weight=3)"))
    again = run_study(path, out, jobs=1, command=command)
    assert (len(again.done), len(again.skipped)) == (3 - done, done)


@pytest.fixture
def disk(tmp_path):
    """A small disk of its own, and a function that changes its mount options."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(options, *words):
        command = ["mount", "-t", "tmpfs", *words, "-o", options, "tmpfs", str(folder)]
        return subprocess.run(command, capture_output=True, check=False).returncode

    if os.name != "posix" or os.geteuid() != 0 or mount("size=1m") != 0:
        pytest.skip("only root can mount a small disk")
    yield folder, lambda options: mount(f"remount,{options}")
    subprocess.run(["umount", "-l", str(folder)], check=True)


LARGE = """
class LargeTask(Task):
    def evaluate(self, objective, folder):
        (folder / "large").write_bytes(bytes(240_000))
        return super().evaluate(objective, folder)

class Large(FakeSpec):
    def open(self, data, folder, seed):
        return LargeTask(self, folder, seed)

"""


def write_large(write_study, count):
    cells = "[Cell(name=str(n), group='one', spec=Large(weight=n + 1)) for n in range(%d)]"
    path = write_study(cells % count, seeds="(0,)")
    path.write_text(path.read_text().replace("study = ", f"{LARGE}study = "))
    return path


def test_a_full_disk_stops_the_study_and_finished_runs_are_kept(write_study, command, disk):
    folder, remount = disk
    out, path = folder / "out", write_large(write_study, 6)
    try:
        failure = run_study(path, out, jobs=1, command=command).external_failure
        sentence = failure.message if failure else ""
    except StudyError as error:  # the manifest could not be written at the end either
        sentence = str(error)
    assert "No space left on device" in sentence
    assert "\n" not in sentence
    finished = states(out).count("done")
    assert 1 <= finished < 6
    before = {path: path.read_bytes() for path in out.rglob("record.json")}
    assert remount("size=8m") == 0
    again = run_study(path, out, jobs=1, command=command)
    assert (len(again.skipped), len(again.done)) == (finished, 6 - finished)
    assert {path: path.read_bytes() for path in before} == before


def test_a_read_only_folder_is_read_and_not_written(write_study, command, disk):
    folder, remount = disk
    out, path = folder / "out", write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    run_study(path, out, jobs=1, command=command)
    assert remount("ro") == 0
    assert states(out) == ["done", "done"]
    for words in (
        ["study", "watch", "--once", out],
        ["study", "plan", path, "--out", out],
        ["report", out, "--json"],
    ):
        assert call(*words)[0] == 0
    status, sentence = call("report", out)
    assert (status, "Read-only file system" in sentence) == (2, True)
    assert len(run_study(path, out, command=command).skipped) == 2
    write_study("[cell('a'), cell('b', weight=2), cell('c', weight=3)]", seeds="(0,)")
    with pytest.raises(StudyError, match="Read-only file system"):
        run_study(path, out, command=command)
    assert remount("rw") == 0
    again = run_study(path, out, command=command)
    assert (len(again.skipped), len(again.done)) == (2, 1)


JUMPING = """
import itertools, time
_calls = itertools.count()
time.time = lambda: 1.7e9 + (-1) ** next(_calls) * 3e8

"""


def test_a_clock_that_jumps_by_years_changes_no_run(write_study, command, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "time", time.time)  # this process loads the study file, too
    cells, records = "[cell('a', steps=9), cell('b', weight=2)]", []
    for name, head in (("steady", ""), ("jumping", JUMPING)):
        path, out = write_study(cells), tmp_path / name
        source = path.read_text().partition("\n")[2]  # without the docstring
        path.write_text(f"{head}{source}")
        assert len(run_study(path, out, jobs=2, command=command).done) == 4
        records.append(ResultStore(out).all_records())
    steady, jumping = records
    assert [record.metrics for record in steady] == [record.metrics for record in jumping]
    assert all(record.seconds == 0.5 for record in jumping)


@pytest.mark.parametrize("years", [-30, 30])
def test_files_of_another_time_are_read_and_kept(write_study, finish, command, years):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    store = finish(path)
    for file in store.root.rglob("*"):
        stamp = file.stat().st_mtime + years * 3e7
        os.utime(file, (stamp, stamp))
    assert states(store.root) == ["done", "done"]
    assert call("report", store.root)[0] == 0
    assert len(run_study(path, store.root, command=command).skipped) == 2
