import json
import os
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from quatrain.specs import StudyError
from quatrain.study import pool as pools
from quatrain.study.pool import WORKER, Pool, WorkerExit
from quatrain.study.protocol import Event, Order

ECHO = """
import os, sys
from quatrain.study.protocol import Event, Order
events = os.fdopen(int(sys.argv[sys.argv.index("--events") + 1]), "w", buffering=1)
for line in sys.stdin:
    order = Order.from_line(line)
    if order.retry:
        sys.exit(3)
    events.write(Event(kind="done", identity=order.identity).to_line())
"""


@pytest.fixture
def pool(tmp_path):
    pool = Pool(1, (sys.executable, "-c", ECHO), tmp_path)
    yield pool
    pool.stop()


def test_a_worker_executes_several_orders(pool):
    for identity in ("aa", "bb"):
        pool.send(1, Order(identity, 0))
        assert pool.next_event() == (1, Event(kind="done", identity=identity))


def test_the_exit_of_a_worker_is_an_event_and_the_worker_is_replaced(pool):
    pool.send(1, Order("aa", 0, retry=True))
    worker, end = pool.next_event()
    assert (worker, end.status) == (1, 3)
    pool.send(1, Order("bb", 0))
    assert pool.next_event() == (1, Event(kind="done", identity="bb"))


@pytest.mark.parametrize(("status", "words"), [(-9, "killed by signal 9"), (3, "exit status 3")])
def test_the_reason_of_an_exit_is_a_sentence(status, words):
    assert words in WorkerExit(1, status).reason


def test_closing_ends_idle_workers(tmp_path):
    pool = Pool(1, (sys.executable, "-c", ECHO), tmp_path)
    pool.send(1, Order("aa", 0))
    pool.next_event()
    pool.close()
    _, end = pool.next_event()
    assert end.status == 0


# The start of a worker that reads a line and then executes the script of a test.
SCRIPT = """
import os, signal, subprocess, sys, time
events = int(sys.argv[sys.argv.index("--events") + 1])
def send(line):
    while line:
        line = line[os.write(events, line):]
sys.stdin.readline()
"""
DONE = b'{"kind": "done", "identity": "aa"}\n'
STARTED = b'{"kind": "started", "identity": "aa"}\n'


@pytest.fixture
def start(tmp_path, monkeypatch):
    """Start a worker that executes this script after its first order."""
    monkeypatch.setattr(pools, "_EXIT_SECONDS", 0.5)
    pools_of_test = []

    def start(script):
        pools_of_test.append(Pool(1, (sys.executable, "-c", SCRIPT + script), tmp_path))
        pools_of_test[0].send(1, Order("aa", 0))
        return pools_of_test[0]

    yield start
    for pool in pools_of_test:
        pool.stop()


NOISE = {
    "a banner": b"Welcome to the cluster!\n",
    "invalid UTF-8": b"caf\xe9 \xff\n",
    "an empty line": b"\n",
    "NUL": b"\0\0\n",
    "a list": b"[1, 2]\n",
    "an object": b'{"identity": "aa"}\n',
    "another kind": b'{"kind": "unknown", "identity": "aa"}\n',
    "another type": b'{"kind": "done", "identity": 3}\n',
    "deep JSON": b"[" * 100_000 + b"\n",
    "a long number": b"9" * 5_000 + b"\n",
    "half an event": DONE[:-4] + b"\n",
    "a long line": b"x" * (3 * 2**20) + b"\n",
}


@pytest.mark.parametrize("noise", NOISE.values(), ids=NOISE)
def test_lines_that_are_no_events_are_logged_and_skipped(start, noise, tmp_path):
    path = tmp_path / "noise"
    path.write_bytes(noise)
    read = f"noise = open({str(path)!r}, 'rb').read()\n"
    pool = start(read + f"for line in (noise, {STARTED!r}, noise, {DONE!r}, noise): send(line)")
    assert pool.next_event() == (1, Event(kind="started", identity="aa"))
    assert pool.next_event() == (1, Event(kind="done", identity="aa"))
    assert pool.next_event()[1].status == 0
    log = (tmp_path / "worker-1.log").read_text()
    assert log.count("not an event: b'") >= 3
    assert len(log) < 5_000


def test_the_output_of_a_worker_is_logged_and_no_event(start, tmp_path):
    pool = start(
        f"print('banner'); os.write(1, b'caf\\xe9\\n'); os.write(2, {DONE!r})\n"
        f"os.system('echo from a shell')\nsend({STARTED!r})\nprint('the end')"
    )
    assert pool.next_event() == (1, Event(kind="started", identity="aa"))
    assert isinstance(pool.next_event()[1], WorkerExit)
    log = (tmp_path / "worker-1.log").read_bytes()
    for printed in (b"banner", b"caf\xe9", DONE, b"from a shell", b"the end"):
        assert printed in log


def test_an_incomplete_line_of_a_killed_worker_is_no_event(start):
    pool = start(f"send({STARTED!r} + {DONE[:20]!r})\nos.kill(os.getpid(), 9)")
    assert pool.next_event()[1].kind == "started"
    assert pool.next_event()[1].reason == "the worker process was killed by signal 9"


@pytest.mark.parametrize(("first", "sent"), [(b"", False), (b"noise\n", False), (STARTED, True)])
def test_an_exit_knows_whether_events_were_sent(start, first, sent):
    pool = start(f"send({first!r})\nsys.exit(3)")
    event = pool.next_event()[1]
    end = pool.next_event()[1] if sent else event
    assert (end.status, end.sent_events) == (3, sent)


def test_a_worker_that_closes_its_events_is_ended(start):
    pool = start("os.close(events)\ntime.sleep(60)")
    before = time.monotonic()
    assert pool.next_event()[1].status == -signal.SIGKILL
    assert time.monotonic() - before < 10


ORPHAN = """
child = os.fork()
if child == 0:
    time.sleep(60)
send(b'{"kind": "note", "identity": "aa", "message": "%d"}\\n' % child)
"""


@pytest.mark.parametrize(("death", "status"), [("os.kill(os.getpid(), 9)", -9), ("os._exit(3)", 3)])
def test_child_processes_of_an_ended_worker_are_killed(start, death, status):
    pool = start(ORPHAN + death)
    child = int(pool.next_event()[1].message)
    before = time.monotonic()
    assert pool.next_event()[1].status == status
    assert time.monotonic() - before < 10
    wait_for_end(child)


def wait_for_end(process):
    """Wait until the process has ended; it may stay as a zombie."""
    for _ in range(200):
        with suppress(FileNotFoundError), Path(f"/proc/{process}/stat").open() as stat:
            if stat.read().split()[2] != "Z":
                time.sleep(0.02)
                continue
        return
    pytest.fail("the child process has not ended")


def test_an_idle_worker_ends_although_its_child_process_does_not(start):
    pool = start(ORPHAN + "sys.stdin.read()\nos._exit(0)")
    child = int(pool.next_event()[1].message)
    pool.close()
    assert pool.next_event()[1].status == 0
    os.kill(child, signal.SIGKILL)


@pytest.mark.parametrize(
    "state",
    [
        "os.kill(os.getpid(), signal.SIGSTOP)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); os.kill(os.getpid(), signal.SIGSTOP)",
        "os.fork(); os.kill(os.getpid(), signal.SIGSTOP)",
    ],
)
def test_a_worker_is_stopped_in_any_state(start, state, monkeypatch):
    monkeypatch.setattr("quatrain.study.pool._STOP_SECONDS", 0.5)
    pool = start(f"send({STARTED!r})\n{state}\ntime.sleep(60)")
    pool.next_event()
    time.sleep(0.2)
    pool.stop()
    assert pool.next_event()[1].status in {-signal.SIGTERM, -signal.SIGKILL}


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_a_log_that_cannot_be_written_is_an_error(tmp_path, make):
    make(tmp_path / "worker-1.log")
    pool = Pool(1, (sys.executable, "-c", ECHO), tmp_path)
    with pytest.raises(StudyError) as error:
        pool.send(1, Order("aa", 0))
    assert error.value.field == str(pool.log(1))
    pool.stop()


def test_a_worker_that_cannot_be_started_is_an_error(tmp_path):
    pool = Pool(1, (str(tmp_path / "no such program"),), tmp_path)
    with pytest.raises(StudyError) as error:
        pool.send(1, Order("aa", 0))
    assert error.value.field == "worker"
    pool.stop()


def test_workers_do_not_look_for_modules_in_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "queue.py").write_text("raise RuntimeError('wrong module')")
    monkeypatch.chdir(tmp_path)
    script = "import json, os, sys; os.write(int(sys.argv[-1]), json.dumps(dict(kind='note', "
    script += "identity='aa', message=json.dumps(sys.path))).encode() + b'\\n')"
    pool = Pool(1, (*WORKER[:-2], "-c", script), tmp_path)
    pool.send(1, Order("aa", 0))
    path = json.loads(pool.next_event()[1].message)
    assert not {"", ".", str(tmp_path)} & {*path}
    pool.stop()
