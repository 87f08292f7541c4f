import json
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from quatrain.study.engines import ray_driver
from quatrain.study.engines.ray_driver import Worker, last_error

# It writes its number, and on SIGTERM "stopped".
COMMAND = """
import os, signal, sys, time
def stop(*_):
    print("stopped", flush=True)
    sys.exit(75)
signal.signal(signal.SIGTERM, stop)
print(os.getpid(), os.environ["MARK"], os.getcwd(), flush=True)
time.sleep(60)
"""


IMPORT = "from quatrain.study.engines.ray_driver import Worker"
WAIT = Worker._wait


class ActorEnd(BaseException):
    pass


@pytest.fixture
def actor(tmp_path, monkeypatch):
    """Start a worker in this process, which ends neither with the actor nor its thread."""
    monkeypatch.setattr(Worker, "_wait", lambda _: None)

    def start(code=COMMAND):
        log = tmp_path / "a.out"
        return Worker([sys.executable, "-c", code], {"MARK": "m"}, str(tmp_path), str(log)), log

    return start


def lines_of(log, count):
    end = time.monotonic() + 30
    while len(lines := log.read_text().splitlines()) < count:
        assert time.monotonic() < end
        time.sleep(0.05)
    return lines


def test_a_worker_has_the_environment_and_the_folder_of_the_submission(actor, tmp_path):
    worker, log = actor()
    assert lines_of(log, 1)[0].split()[1:] == ["m", str(tmp_path)]
    worker.stop()
    assert worker._process.wait(30) == 75
    assert lines_of(log, 2)[1] == "stopped"


@pytest.mark.parametrize("victim", ["shell", "actor"])
def test_a_worker_stops_when_its_actor_or_its_shell_ends(actor, tmp_path, victim):
    if victim == "shell":
        worker, log = actor()
        lines_of(log, 1)
        worker._process.kill()
        worker._process.wait()
        worker._process.stdin.close()
    else:
        log = tmp_path / "a.out"
        arguments = ([sys.executable, "-c", COMMAND], {"MARK": "m"}, str(tmp_path), str(log))
        code = f"{IMPORT}; import time; Worker(*{arguments!r}); time.sleep(60)"
        process = subprocess.Popen((sys.executable, "-c", code))
        while not log.exists():
            time.sleep(0.05)
        lines_of(log, 1)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert lines_of(log, 2)[1] == "stopped"


@pytest.mark.parametrize(
    ("code", "status"),
    [("raise SystemExit(2)", 2), ("import os; os.kill(os.getpid(), 9)", 128 + 9)],
)
def test_the_status_of_the_shell_is_that_of_the_worker(actor, code, status):
    worker, _ = actor(code)
    assert worker._process.wait(30) == status
    worker._process.stdin.close()


def test_a_worker_without_its_folder_does_not_start(tmp_path):
    with pytest.raises(FileNotFoundError, match="absent"):
        Worker(["true"], {}, str(tmp_path), str(tmp_path / "absent" / "a.out"))


@pytest.mark.parametrize(
    ("status", "is_stopped", "is_final"),
    [(0, False, True), (2, False, True), (75, True, True), (75, False, False), (137, False, False)],
)
def test_a_worker_that_ends_too_early_is_left_to_ray(
    actor, monkeypatch, status, is_stopped, is_final
):
    killed = []

    def leave(number):
        raise ActorEnd(number)

    context = SimpleNamespace(current_actor="this actor")
    fake = SimpleNamespace(
        kill=lambda handle, no_restart: killed.append((handle, no_restart)),
        get_runtime_context=lambda: context,
    )
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_driver.os, "_exit", leave)
    monkeypatch.setattr(ray_driver, "_STOP_SECONDS", 0)
    worker, _ = actor(f"raise SystemExit({status})")
    worker._is_stopped = is_stopped
    with pytest.raises(ActorEnd) as end:
        WAIT(worker)
    assert end.value.args == (1,)
    assert killed == [("this actor", True)] * is_final
    worker._process.stdin.close()


def test_an_actor_whose_ray_fails_ends_too(actor, monkeypatch):
    def leave(number):
        raise ActorEnd(number)

    def fails(*_, **__):
        raise RuntimeError("no connection")

    fake = SimpleNamespace(kill=fails, get_runtime_context=fails)
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.setattr(ray_driver.os, "_exit", leave)
    worker, _ = actor("raise SystemExit(0)")
    with pytest.raises(ActorEnd):
        WAIT(worker)
    worker._process.stdin.close()


def test_the_address_of_the_cluster_of_this_machine_is_one_for_other_machines(monkeypatch):
    context = SimpleNamespace(gcs_address="10.0.0.1:6379")
    monkeypatch.setitem(sys.modules, "ray", SimpleNamespace(get_runtime_context=lambda: context))
    assert ray_driver.find({"address": "auto"}) == {"address": "10.0.0.1:6379"}
    assert ray_driver.find({"address": "ray://head:10001"}) == {"address": "ray://head:10001"}


@pytest.mark.parametrize(
    ("address", "end"),
    [("[::1]:6379", ("::1", 6379)), ("ray://head:10001", ("head", 10001)), ("auto", None)],
)
def test_a_cluster_that_cannot_be_reached_is_found_before_ray_connects(monkeypatch, address, end):
    reached, connected = [], []

    def create_connection(reached_end, timeout):
        assert timeout > 0
        reached.append(reached_end)
        return SimpleNamespace(close=lambda: None)

    monkeypatch.setattr(ray_driver.socket, "create_connection", create_connection)
    fake = SimpleNamespace(init=lambda address, **_: connected.append(address))
    monkeypatch.setitem(sys.modules, "ray", fake)
    ray_driver.connect(address)
    assert (reached, connected) == ([] if end is None else [end], [address])


def call(command, request):
    program = (sys.executable, "-m", "quatrain.study.engines.ray_driver", command)
    done = subprocess.run(
        program, input=json.dumps(request), capture_output=True, text=True, check=True
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_cluster_that_does_not_answer_is_one_line():
    pytest.importorskip("ray")
    ((answer),) = call("find", {"address": "127.0.0.1:9"})
    assert "refused" in answer["error"]


def test_the_last_error_is_that_of_the_first_cause():
    chained = RuntimeError("two")
    chained.__cause__ = OSError("one")
    assert last_error(chained) == "one"
    text = "The actor died: \n  File 'a', line 1\nFileNotFoundError: no folder\n"
    assert last_error(RuntimeError(text)) == "no folder"
    assert last_error(RuntimeError()) == "RuntimeError"


def test_variables_that_ray_sets_for_each_actor_are_left_to_it():
    names = ["RAY_ADDRESS", "CUDA_VISIBLE_DEVICES", "PATH", "HF_HOME"]
    assert [name for name in names if not ray_driver._is_of_ray(name)] == ["PATH", "HF_HOME"]
