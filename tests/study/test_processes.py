"""Runs whose training has two processes, on the CPU by gloo."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from quatrain.results import ResultStore, RunState
from quatrain.study import load_study, processes, run_study
from quatrain.study.execute import ProcessError
from quatrain.study.processes import Launcher, _Rank, local_store
from quatrain.weights.tensor_file import read_tensors

slow = pytest.mark.slow

HEAD = (Path(__file__).parents[1] / "fake" / "torch_study.py").read_text()
STUDY = """
import os, signal, time

class PairTask(TinyTask):
    def __init__(self, spec, folder):
        super().__init__(spec)
        self.trouble, self.folder, self.calls = spec.trouble, folder, 0
        rank = os.environ.get("RANK", "no")
        with (folder / f"processes-{rank}.txt").open("a") as lines:
            lines.write(f"{os.getpid()}\\n")

    def collate(self, plan):
        self.calls += 1
        is_last = os.environ.get("RANK") == "1"
        marker = self.folder.parents[1] / "killed"
        if self.trouble == "fails" and is_last and self.calls == 3:
            raise LookupError("the batch has no name")
        if self.trouble == "killed" and is_last and self.calls == 4 and not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if self.trouble == "slow":
            time.sleep(0.1)
        return super().collate(plan)

    def evaluate(self, objective, folder):
        return Evaluation({"accuracy": float(objective.layer.weight.detach().sum())})

class PairSpec(TinySpec):
    trouble: str = ""

    def open(self, data, folder, seed):
        return PairTask(self, folder)

def cell(name, processes, steps=6):
    recipe = Recipe(
        steps=steps, learning_rate=1e-2, warmup_steps=1, accumulate=2, processes=processes,
        report_every=1, checkpoint_every=2, average=0.5,
    )
    return Cell(name=name, group="g", spec=PairSpec(recipe=recipe, trouble=name))

study = Study(title="T", question="?", metric="accuracy", seeds=(0,), cells=[CELLS])
"""
RUN = """
import sys
from pathlib import Path
from quatrain.study import run_study
run_study(Path(sys.argv[1]), Path(sys.argv[2]), jobs=1, threads=1)
"""


def write_study(folder, cells):
    path = folder / "pair.py"
    path.write_text(HEAD + STUDY.replace("CELLS", cells))
    return path


def check_ended(folder):
    """Check that the processes of a run that wrote their numbers have ended."""
    text = "".join(path.read_text() for path in folder.glob("processes-*"))
    numbers = [int(line) for line in text.splitlines()]
    assert len(numbers) >= 3
    for number in set(numbers) - {os.getpid()}:
        with pytest.raises(ProcessLookupError):
            os.kill(number, 0)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study that was executed twice: the events, records and failures of its cells."""
    folder = tmp_path_factory.mktemp("pair")
    cells = "cell('one', 1), cell('two', 2), cell('fails', 2), cell('killed', 2)"
    path, out = write_study(folder, cells), folder / "out"
    store, notified = ResultStore(out), []
    first = run_study(path, out, jobs=1, threads=1, notify=notified.append)
    runs = {run.labels[0].partition("/")[2]: run.identity for run in load_study(path).select()}
    failures = {name: store.failure(identity) for name, identity in runs.items()}
    second = run_study(path, out, jobs=1, threads=1, notify=notified.append)
    return SimpleNamespace(
        first=first,
        second=second,
        failures=failures,
        runs=runs,
        notified=notified,
        records={
            name: store.record(identity) for name, identity in runs.items() if name != "fails"
        },
        folders={name: store.files(identity) for name, identity in runs.items()},
    )


def weights(folder):
    return read_tensors(folder / "model.safetensors")[0]


@slow
def test_two_processes_train_and_are_evaluated_as_one(finished):
    assert len(finished.first.done) == 2
    one, two = finished.records["one"], finished.records["two"]
    assert two.metrics["accuracy"] == pytest.approx(one.metrics["accuracy"], abs=1e-5)
    expected, result = weights(finished.folders["one"]), weights(finished.folders["two"])
    assert expected.keys() == result.keys()
    for name, value in expected.items():
        torch.testing.assert_close(result[name], value, rtol=0, atol=1e-5)
    assert (two.steps, two.cost, two.threads, two.device) == (
        one.steps, one.cost, one.threads, one.device
    )  # fmt: skip
    assert two.fingerprint == one.fingerprint
    assert two.spec["recipe"]["processes"] == 2
    assert finished.runs["one"] != finished.runs["two"]


@slow
def test_the_progress_of_two_processes_is_that_of_the_first(finished):
    identity = finished.runs["two"]
    events = [event for event in finished.notified if event.identity == identity]
    steps = [event.step for event in events if event.kind == "progress" and not event.text]
    assert steps == [1, 2, 3, 4, 5, 6]


@slow
def test_an_error_of_one_process_is_the_failure_of_the_run(finished):
    failure = finished.failures["fails"]
    assert (failure.reason, failure.message) == ("error", "the batch has no name")
    assert "LookupError" in failure.traceback
    assert "collate" in failure.traceback
    assert finished.second.failed[0].identity == finished.runs["fails"]
    check_ended(finished.folders["fails"])


@slow
def test_a_run_with_a_killed_process_resumes_to_the_result_of_an_uninterrupted_one(finished):
    failure = finished.failures["killed"]
    assert (failure.reason, failure.step) == ("killed", 3)
    assert "process 2 of 2" in failure.message
    assert [event.identity for event in finished.second.done] == [finished.runs["killed"]]
    expected, resumed = finished.records["two"], finished.records["killed"]
    assert (resumed.metrics, resumed.weights) == (expected.metrics, expected.weights)
    check_ended(finished.folders["killed"])


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="Linux only")
def test_other_machines_cannot_reach_the_store_of_a_training():
    store = local_store()
    listening = "0A"
    ends = [
        fields[1].split(":")
        for name in ("/proc/net/tcp", "/proc/net/tcp6")
        for fields in map(str.split, Path(name).read_text().splitlines()[1:])
        if fields[3] == listening
    ]
    addresses = [address for address, port in ends if int(port, 16) == store.port]
    assert addresses == ["0100007F"]
    store.set("key", "value")
    assert store.get("key") == b"value"


CHILD = """
import os, sys, threading, time
def end():
    os.read(0, 1)
    os._exit(1)
threading.Thread(target=end, daemon=True).start()
time.sleep(0.3)
print(os.environ["GLOO_SOCKET_IFNAME"], os.environ["NCCL_SOCKET_IFNAME"], file=open(PATH, "w"))
"""


def test_a_rank_that_has_trained_ends_by_itself_and_connects_on_this_machine(tmp_path, monkeypatch):
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "ib0")
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    end = tmp_path / "end"
    code = CHILD.replace("PATH", repr(str(end)))
    rank = _Rank(0, [torch.device("cpu")], [sys.executable, "-c", code], 1)
    rank.close()
    rank.kill()
    assert end.read_text().split() == ["lo0" if sys.platform == "darwin" else "lo", "ib0"]


def test_a_rank_that_cannot_be_read_has_ended():
    rank = _Rank(0, [torch.device("cpu")], [sys.executable, "-c", "raise SystemExit(3)"], 1)
    rank._process.wait()
    rank.connection.close()
    with pytest.raises(ProcessError):
        rank.receive()
    rank.kill()


def test_memory_of_earlier_runs_is_freed_on_a_gpu_before_the_processes_start(tmp_path, monkeypatch):
    class StartError(Exception):
        pass

    calls = []

    def start(*_):
        calls.append("start")
        raise StartError

    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: calls.append("free"))
    monkeypatch.setattr(processes, "local_store", start)
    launcher = Launcher(tmp_path / "a.py", None, 1, 0)
    for device in ("cpu", "cuda"):
        found = [torch.device(device)] * 2
        monkeypatch.setattr("quatrain.training.devices.devices_of", lambda *_, found=found: found)
        with pytest.raises(StartError):
            launcher.train(
                SimpleNamespace(processes=2), None, tmp_path, seed=0, device=device,
                notify=print, should_stop=lambda: False,
            )  # fmt: skip
    assert calls == ["start", "free", "start"]


def start_slow_run(folder):
    """A runner with a run of two slow processes, as a child process; returns when it trains."""
    path, out = write_study(folder, "cell('slow', 2, steps=2000)"), folder / "out"
    store, (run,) = ResultStore(out), load_study(path).select()
    command = [sys.executable, "-c", RUN, str(path), str(out)]
    runner = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    while not (store.files(run.identity) / "checkpoint.safetensors").exists():
        assert runner.poll() is None
        time.sleep(0.05)
    return runner, store, run.identity


@slow
def test_a_signal_pauses_a_run_of_two_processes(tmp_path):
    runner, store, identity = start_slow_run(tmp_path)
    runner.send_signal(signal.SIGTERM)
    assert "KeyboardInterrupt" in runner.communicate()[1]
    assert (store.state(identity), store.failure(identity)) == (RunState.PAUSED, None)
    check_ended(store.files(identity))
    log = (store.files(identity) / "metrics.jsonl").read_text().splitlines()
    _, header = read_tensors(store.files(identity) / "checkpoint.safetensors")
    assert f'"step":{len(log)},' in str(header).replace(" ", "")


@slow
def test_no_process_outlives_a_killed_worker_and_runner(tmp_path):
    runner, store, identity = start_slow_run(tmp_path)
    folder = store.files(identity)
    worker = int((folder / "processes-no.txt").read_text())
    os.kill(runner.pid, signal.SIGSTOP)  # it cannot end the group of the worker
    os.kill(worker, signal.SIGKILL)
    ranks = [int((folder / f"processes-{rank}.txt").read_text()) for rank in (0, 1)]
    while any(Path(f"/proc/{rank}").exists() for rank in ranks):
        time.sleep(0.05)
    runner.kill()
    runner.communicate()
    assert store.state(identity) is RunState.PAUSED
