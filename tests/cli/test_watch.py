import io
import json
import os
import pty
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from types import SimpleNamespace

import pytest
from rich.console import Console
from typer.testing import CliRunner

from quatrain.cli import watch as module
from quatrain.cli.main import app
from quatrain.cli.watch import (
    MOST_LINES,
    Findings,
    Lines,
    end_line,
    frame,
    frame_lines,
    run_line,
    summary_line,
)
from quatrain.results import Failure, ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.progress import RunProgress, StudyProgress

COMPARISON = "[Comparison(left='b', right='a', group='one')]"
MAIN = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
from quatrain.cli.start import main
main()
"""


def run(state="running", **fields):
    return RunProgress("self", "w/o", 0, "ab" * 32, state, **fields)


def progress_of(*runs, left=None):
    return StudyProgress("Terms", "bleu", runs, left)


def call(*arguments):
    words = ["study", "watch", *map(str, arguments)]
    return CliRunner().invoke(app, words, catch_exceptions=False)


@pytest.fixture
def store(write_study, finish):
    """Two cells with two seeds, all runs finished."""
    return finish(write_study("[cell('a'), cell('b', weight=2)]", comparisons=COMPARISON))


@pytest.fixture
def started(write_study, tmp_path):
    """The same study before its first run, and its folder."""
    path = write_study("[cell('a'), cell('b', weight=2)]", comparisons=COMPARISON)
    store = ResultStore(tmp_path / "out")
    store.write_manifest(load_study(path).manifest())
    return path, store


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({}, "starting"),
        ({"step": 3}, "step 3"),
        ({"step": 3, "steps": 9}, "step 3/9"),
        ({"step": 3, "steps": 9, "seconds_left": 75.0}, "step 3/9  1:15 left"),
        ({"step": 9, "steps": 9, "seconds_left": 0.0}, "step 9/9  evaluating"),
    ],
)
def test_a_running_run_has_its_step_and_time_left(fields, text):
    assert run_line(run(**fields)) == f"self/w/o seed 0: {text}"


def test_the_first_line_counts_the_runs():
    progress = progress_of(run("done"), run(), run("absent"), run("failed"), left=3661.0)
    expected = "Terms: 1 of 4 runs done, 1 running, 1 failed, 1 waiting; about 1:01:01 left"
    assert summary_line(progress) == expected
    assert summary_line(progress_of(run("done"), left=0.0)) == "Terms: 1 of 1 run done"


def test_an_ended_run_has_its_metric_or_its_reason():
    done, failed = run("done", metric=31.4), run("failed", message="error: no")
    progress = progress_of(done, failed, run("absent"), left=60.0)
    rest = "; about 1:00 left"
    assert end_line(done, progress) == f"2/3 done: self/w/o seed 0 (BLEU 31.40){rest}"
    assert end_line(failed, progress) == f"2/3 failed: self/w/o seed 0 (error: no){rest}"


def test_long_lists_are_cut():
    lines = frame_lines(progress_of(run("done")), [f"sentence {n}" for n in range(20)])
    assert lines[1:] == [
        *(f"sentence {n}" for n in range(MOST_LINES)), f"... and {20 - MOST_LINES} more"
    ]  # fmt: skip


def test_a_frame_has_bars_and_no_markup_of_names():
    console = Console(file=io.StringIO(), width=100)
    failed = RunProgress("[red]g", "c\x1b[2J", 0, "cd" * 32, "failed", message="[bold]no")
    progress = progress_of(run(step=50, steps=100), run("done"), failed)
    console.print(frame(progress, ["✓ self: a has a higher BLEU"]))
    text = console.file.getvalue()
    assert "━" in text
    for part in ("step 50/100", "[red]g/c", "([bold]no)", "✓ self: a has a higher BLEU"):
        assert part in text
    assert "\x1b[2J" not in text


def test_a_narrow_terminal_shows_the_whole_name_of_a_run():
    run = RunProgress("encoder-decoder", "0010+deformable", 0, "a", "running", step=4, steps=10)
    console = Console(file=io.StringIO(), width=40)
    console.print(frame(StudyProgress("Terms", "bleu", (run,), None), []))
    assert "…" not in console.file.getvalue()


def test_lines_are_printed_for_changes_only():
    console = Console(file=io.StringIO(), width=100)
    lines = Lines(console)
    first = progress_of(run(step=1, steps=9), RunProgress("g", "c", 0, "cd", "absent"))
    second = progress_of(run("done", metric=1.0), RunProgress("g", "c", 0, "cd", "running"))
    for progress, sentences in ((first, []), (first, []), (second, ["a"]), (second, ["a", "b"])):
        lines.show(progress, sentences)
    assert console.file.getvalue().splitlines() == [
        "Terms: 0 of 2 runs done, 1 running, 1 waiting",
        "self/w/o seed 0: step 1/9",
        "1/2 done: self/w/o seed 0 (BLEU 1.00)",
        "g/c seed 0: starting",
        "a",
        "b",
    ]


def test_one_frame_of_a_finished_study_says_what_it_found(store):
    done = call(store.root, "--once")
    assert done.exit_code == 0
    first, *sentences = done.output.splitlines()
    assert first == "A study: 4 of 4 runs done"
    assert any("b" in each and "score" in each for each in sentences)
    assert "\x1b" not in done.output


def test_one_frame_as_json(store):
    done = json.loads(call(store.root, "--once", "--json").output)
    assert (done["title"], done["metric"], done["counts"]) == ("A study", "score", {"done": 4})
    assert {run["state"] for run in done["runs"]} == {"done"}
    assert done["runs"][0]["metric"] == 4.0
    assert done["seconds_left"] is None
    assert done["sentences"] == Findings(store).of(progress_of(run("done")))


def test_sentences_are_computed_in_a_part_of_the_time(store, monkeypatch):
    clock, computed = SimpleNamespace(now=0.0), []

    def load(_):
        clock.now += 3.0
        computed.append(clock.now)
        return SimpleNamespace(sentences=[])

    monkeypatch.setattr("quatrain.cli.watch.time.monotonic", lambda: clock.now)
    monkeypatch.setattr("quatrain.cli.watch.load_report", load)
    findings = Findings(store)
    runs = [RunProgress("g", "c", n, f"{n:02}", "done") for n in range(40)]
    for ended in range(1, 40):
        findings.of(progress_of(*runs[:ended], run()))
        clock.now += 2.0
    assert computed == [3.0, 36.0, 69.0]
    findings.of(progress_of(*runs))
    assert len(computed) == 4


def test_json_needs_once(store):
    with pytest.raises(StudyError, match="add --once"):
        call(store.root, "--json")


def test_the_exit_status_is_1_if_a_run_failed(started):
    _, store = started
    for cell in store.manifest().cells:
        for identity in cell.identities.values():
            failure = Failure(reason="error", message="no", traceback="", step=0)
            store.write_failure(identity, failure)
    for options in (["--once"], []):
        done = call(store.root, *options)
        assert done.exit_code == 1
        assert "failed: one/a seed 0 (error: no)" in done.output


def test_a_finished_study_is_watched_for_one_look(store):
    done = call(store.root)
    assert done.exit_code == 0
    assert (
        done.output.splitlines()[-1] == f"All runs have ended. Report: quatrain report {store.root}"
    )


def test_a_folder_without_a_study_is_one_sentence(tmp_path):
    with pytest.raises(StudyError, match=r"has no study\.json"):
        call(tmp_path, "--once")


def test_a_report_that_is_impossible_is_one_sentence(store):
    manifest = store.manifest().model_copy(update={"metric": "bleu"})
    store.write_manifest(manifest)
    assert "No report: a record has no metric 'bleu'" in call(store.root, "--once").output


def test_runs_are_watched_until_they_have_ended(started, finish, monkeypatch):
    """Another thread, as another process would, executes the runs between two looks."""
    path, store = started
    remaining = [("a", 0), ("a", 1), ("b", 0), ("b", 1)]

    def execute(_seconds):
        cell, seed = remaining.pop(0)
        finish(path, cells=[cell], seeds=[seed])

    monkeypatch.setattr(module.time, "sleep", execute)
    done = call(store.root)
    assert done.exit_code == 0
    lines = done.output.splitlines()
    assert lines[0] == "A study: 0 of 4 runs done, 4 waiting"
    assert [line.partition(":")[0] for line in lines if " done: one/" in line] == [
        "1/4 done", "2/4 done", "3/4 done", "4/4 done"
    ]  # fmt: skip
    assert any(line.startswith(("✓", "?")) for line in lines)


def watch_in_terminal(root):
    """The program in a pseudo-terminal, and the file of its output."""
    parent, child = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, "study", "watch", root, "--every", "0.2"],
        stdin=child, stdout=child, stderr=child, env={**os.environ, "TERM": "xterm"},
    )  # fmt: skip
    os.close(child)
    return process, parent


def read_until(terminal, text, seconds=60):
    output, end = "", time.monotonic() + seconds
    with suppress(OSError):  # the program has ended
        while text not in output and time.monotonic() < end:
            output += os.read(terminal, 65536).decode(errors="replace")
    return output


def read_to_end(terminal):
    """What the program prints until it ends: its last output is only flushed when it is read."""
    return read_until(terminal, "\0")


@pytest.mark.slow
def test_ctrl_c_in_a_terminal_ends_with_one_sentence_and_130(started):
    _, store = started
    process, terminal = watch_in_terminal(store.root)
    try:
        assert "0 of 4 runs done" in read_until(terminal, "4 waiting")
        process.send_signal(signal.SIGINT)
        rest = read_to_end(terminal)
        assert process.wait(30) == 130
    finally:
        process.kill()
        os.close(terminal)
    assert "Stopped watching; the study is not affected." in rest
    assert "Traceback" not in rest


@pytest.mark.slow
def test_a_terminal_shows_runs_that_another_process_executes(started, command):
    path, store = started
    process, terminal = watch_in_terminal(store.root)
    try:
        read_until(terminal, "4 waiting")
        runner = threading.Thread(target=execute_in_process, args=(path, store, command))
        runner.start()
        output = read_to_end(terminal)
        runner.join()
        assert process.wait(30) == 0
    finally:
        process.kill()
        os.close(terminal)
    assert "4 of 4 runs done" in output


def execute_in_process(path, store, command):
    from quatrain.study import run_study

    run_study(path, store.root, jobs=2, command=command)
