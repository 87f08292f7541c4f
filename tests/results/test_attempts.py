import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.results import attempts, files
from quatrain.results.attempts import claim, is_leased, latest_folder, may_expire, settle

HOUR = 3600.0

HOLD = """
import pathlib, sys
from quatrain.results.attempts import claim
attempt = claim(pathlib.Path(sys.argv[1]))
print(attempt and attempt.number, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


@pytest.fixture
def elsewhere(monkeypatch):
    """Let leases look as if another machine had made them."""

    def pretend(run: Path) -> None:
        for path in (run / "attempts").glob("*.json"):
            content = json.loads(path.read_text())
            before = path.stat()
            path.write_text(json.dumps({**content, "host": "another", "system": "other"}))
            os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))

    return pretend


def set_age(run: Path, number: int, seconds: float) -> None:
    path = run / "attempts" / f"{number}.json"
    now = path.stat().st_mtime
    os.utime(path, (now - seconds, now - seconds))


def hold(run: Path):
    """Another process that holds a lease until its stdin is closed; and what it printed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdin=-1, stdout=-1, text=True
    )
    return process, process.stdout.readline().strip()


def test_a_run_has_one_owner_at_a_time(run):
    first = claim(run)
    assert (first.number, claim(run), is_leased(run)) == (1, None, True)
    first.release()
    assert not is_leased(run)
    second = claim(run)
    assert second.number == 2
    second.release()


def test_a_released_attempt_leaves_its_files_to_the_next(run):
    first = claim(run)
    (first.begin() / "checkpoint.safetensors").write_text("step 4")
    (first.folder / "pictures").mkdir()
    (first.folder / "pictures" / "map.png").write_text("a picture")
    first.release()
    second = claim(run)
    assert second.begin() == latest_folder(run)
    assert (second.folder / "checkpoint.safetensors").read_text() == "step 4"
    assert (second.folder / "pictures" / "map.png").read_text() == "a picture"
    assert not first.folder.exists()
    second.release()


def test_the_lease_of_a_killed_process_ends_at_once(run):
    process, number = hold(run)
    assert (number, claim(run)) == ("1", None)
    process.kill()
    process.communicate()
    attempt = claim(run)
    assert attempt.number == 2
    attempt.release()


def test_the_lease_of_a_living_process_of_this_machine_holds_however_old(run):
    process, _ = hold(run)
    set_age(run, 1, 24 * HOUR)
    assert is_leased(run)
    assert claim(run) is None
    process.communicate()


def test_the_lease_of_another_machine_holds_until_it_expires(run, elsewhere):
    attempt = claim(run)
    elsewhere(run)
    assert claim(run) is None
    set_age(run, 1, HOUR)
    assert not is_leased(run)
    second = claim(run)
    assert second.number == 2
    for each in (attempt, second):
        each.release()


def test_a_lease_of_another_machine_that_is_not_renewed_in_time_may_expire(run, elsewhere):
    assert not may_expire(run)
    attempt = claim(run)
    assert not may_expire(run)
    elsewhere(run)
    assert not may_expire(run)
    set_age(run, 1, 60)
    assert is_leased(run)
    assert may_expire(run)
    attempt.release()
    assert not may_expire(run)


@pytest.mark.parametrize("ahead", [-1e6, 1e6])
def test_the_clock_of_the_machine_decides_nothing(run, elsewhere, monkeypatch, ahead):
    now = time.time() + ahead
    attempt = claim(run)
    elsewhere(run)
    monkeypatch.setattr("time.time", lambda: now)
    assert is_leased(run)
    set_age(run, 1, HOUR)
    assert not is_leased(run)
    attempt.release()


def test_a_process_that_the_system_hides_has_its_lease_until_it_expires(run, monkeypatch):
    process, _ = hold(run)

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as hidden:
        hidden.setattr(attempts, "_start_of", lambda number: 1 if number == os.getpid() else None)
        hidden.setattr(os, "kill", refuse)
        assert is_leased(run)
        set_age(run, 1, HOUR)
        assert not is_leased(run)
    process.kill()
    process.communicate()


def test_a_lease_is_renewed_while_it_is_held(run, elsewhere):
    attempt = claim(run, seconds=0.3)
    elsewhere(run)
    set_age(run, 1, HOUR)
    started = time.monotonic()
    while not is_leased(run, seconds=HOUR / 2):
        assert time.monotonic() - started < 30
        time.sleep(0.02)
    attempt.release()


def test_a_process_that_lost_its_lease_writes_into_its_own_attempt_only(run, elsewhere):
    stale = claim(run, seconds=0.3)
    (stale.begin() / "checkpoint.safetensors").write_text("step 4")
    elsewhere(run)
    stale._end.set()  # as a process that is stopped for an hour
    set_age(run, 1, HOUR)
    owner = claim(run, seconds=0.3)
    owner.begin()
    (stale.folder / "checkpoint.safetensors").write_text("step 9, late")
    assert (owner.folder / "checkpoint.safetensors").read_text() == "step 4"
    for each in (stale, owner):
        each.release()


def test_a_process_notices_that_it_lost_its_lease(run, elsewhere):
    stale = claim(run, seconds=0.3)
    elsewhere(run)
    (run / "attempts" / "2.json").write_text("{}")
    started = time.monotonic()
    while not stale.is_lost:
        assert time.monotonic() - started < 30
        time.sleep(0.02)
    stale.release()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": 1}', "é" * 10**5, "[" * 10**5])
def test_a_damaged_lease_holds_until_it_expires(run, content):
    claim(run).release()
    (run / "attempts" / "1.json").write_text(content)
    assert claim(run) is None
    set_age(run, 1, HOUR)
    attempt = claim(run)
    assert attempt.number == 2
    attempt.release()


@pytest.mark.timeout(60)
def test_a_pipe_in_place_of_a_lease_blocks_nobody(run):
    claim(run).release()
    (run / "attempts" / "1.json").unlink()
    os.mkfifo(run / "attempts" / "1.json")
    assert claim(run) is None
    set_age(run, 1, HOUR)
    attempt = claim(run)
    assert attempt.number == 2
    attempt.release()


def test_of_many_that_claim_at_once_one_succeeds(run):
    claimed, barrier = [], threading.Barrier(16)

    def work():
        barrier.wait()
        claimed.append(claim(run))

    workers = [threading.Thread(target=work) for _ in range(16)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    (owner,) = [attempt for attempt in claimed if attempt is not None]
    owner.release()


def test_a_run_that_is_finished_during_a_claim_is_not_claimed(run, monkeypatch):
    """The process that finishes a run removes the folder that a claim has just made."""
    for module in (attempts, files):
        monkeypatch.setattr(module, "make_folder", lambda _: None)
    assert claim(run) is None
    assert not run.exists()


def test_without_hard_links_one_of_many_succeeds_too(run, monkeypatch):
    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    test_of_many_that_claim_at_once_one_succeeds(run)


def test_files_of_an_older_version_are_resumed_from(run):
    run.mkdir()
    for name in ("checkpoint.safetensors", "metrics.jsonl", "spec.json", "failure.json"):
        (run / name).write_text(name)
    attempt = claim(run)
    names = {path.name for path in attempt.begin().iterdir()}
    assert names == {"checkpoint.safetensors", "metrics.jsonl"}
    attempt.release()


def test_a_finished_run_has_its_files_in_its_own_folder(run):
    attempt = claim(run)
    folder = attempt.begin()
    for name in ("checkpoint.safetensors", "sessions.json", "model.safetensors", "metrics.jsonl"):
        (folder / name).write_text(name)
    (run / "record.json").write_text("{}")
    attempt.release()
    for _ in range(2):
        settle(run, 1)
    names = {path.name for path in run.iterdir()}
    assert names == {"record.json", "model.safetensors", "metrics.jsonl"}


def test_settling_leaves_the_attempt_of_a_living_process(run, elsewhere):
    stale = claim(run, seconds=0.3)
    (stale.begin() / "model.safetensors").write_text("stale")
    stale._end.set()
    elsewhere(run)
    set_age(run, 1, HOUR)
    winner = claim(run)
    (winner.begin() / "model.safetensors").write_text("winner")
    os.utime(run / "attempts" / "1.json")  # the stale process runs again, and renews its lease
    (run / "record.json").write_text("{}")
    winner.release()
    settle(run, 2)
    assert (run / "model.safetensors").read_text() == "winner"
    assert (stale.folder / "model.safetensors").read_text() == "stale"
    stale.release()
    settle(run, 2)
    assert not (run / "attempts").exists()


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["claim", "release", "expire", "kill"]), max_size=12))
def test_attempts_are_numbered_upwards_whatever_happens(tmp_path_factory, events):
    run = tmp_path_factory.mktemp("runs")
    owner, numbers = None, [0]
    for event in events:
        if event == "claim":
            attempt = claim(run)
            assert (attempt is None) == (owner is not None)
            if attempt is not None:
                owner = attempt
                owner.begin()
                numbers.append(owner.number)
        elif owner is not None:
            if event == "release":
                owner.release()
            else:
                owner._end.set()
                content = {} if event == "expire" else {**vars_of(run, owner), "started": 1}
                (run / "attempts" / f"{owner.number}.json").write_text(json.dumps(content))
                set_age(run, owner.number, HOUR)
            owner = None
    assert numbers == sorted(set(numbers))
    if owner is not None:
        owner.release()


def vars_of(run: Path, owner: attempts.Attempt) -> dict[str, object]:
    return json.loads((run / "attempts" / f"{owner.number}.json").read_text())
