import resource
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from quatrain.cost import Latency, latency, measure, peak_memory
from quatrain.specs import InputError, SpecError

MEBIBYTE = 2**20

MEASURED = """
import torch

torch.set_num_threads(1)


def temporary(mebibytes, inputs=0):
    held = torch.ones(inputs * 2**18)

    def call():
        first = torch.ones(mebibytes * 2**18)
        return held.sum() + first.sum()

    return call


def broken():
    raise ValueError("the data are gone")
"""


@pytest.fixture
def measured(tmp_path, monkeypatch):
    (tmp_path / "measured.py").write_text(MEASURED)
    monkeypatch.syspath_prepend(tmp_path)


def test_peak_is_above_the_inputs_and_ignores_files_in_the_working_folder(
    measured, tmp_path, monkeypatch
):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("queue.py").write_text("raise RuntimeError('shadows the standard library')")
    peak = peak_memory("measured:temporary", {"mebibytes": 96, "inputs": 64})
    assert peak + MEBIBYTE >= 96 * MEBIBYTE
    assert peak < 112 * MEBIBYTE


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "reason"),
    [("measured:broken", "ValueError"), ("math:nothing", "AttributeError")],
)
def test_failure_of_the_child_is_reported_with_its_reason(name, reason, measured):
    with pytest.raises(InputError) as caught:
        peak_memory(name, {})
    assert caught.value.field == "prepare"
    assert name in str(caught.value)
    assert reason in str(caught.value)


def test_first_call_is_measured_where_the_peak_cannot_be_reset(monkeypatch):
    peaks = iter([SimpleNamespace(ru_maxrss=100), SimpleNamespace(ru_maxrss=164)])
    monkeypatch.setattr(resource, "getrusage", lambda _: next(peaks))
    monkeypatch.setattr(sys, "platform", "freebsd")
    calls = []
    assert measure._process_peak(lambda: calls.append(1)) == 64 * 1024
    assert len(calls) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the status file is Linux's")
def test_unknown_line_of_the_status_file_raises():
    with pytest.raises(InputError) as caught:
        measure._status("VmNothing")
    assert "VmNothing" in str(caught.value)


def test_call_runs_once_per_round_and_warmup():
    calls = []
    measured = latency(lambda: calls.append(1), warmup=2, rounds=5)
    assert len(calls) == 2 + 5
    assert measured.rounds == 5


def test_median_and_spread_are_robust_to_one_slow_round(monkeypatch):
    ticks = iter([0.0, 1.0, 0.0, 2.0, 0.0, 3.0, 0.0, 4.0, 0.0, 1000.0])
    with monkeypatch.context() as patched:
        patched.setattr(time, "perf_counter", lambda: next(ticks))
        measured = latency(lambda: None, warmup=0, rounds=5)
    assert measured == Latency(3.0, 2.0, 5)


@pytest.mark.parametrize("field", ["rounds", "warmup"])
def test_too_few_rounds_raise(field):
    with pytest.raises(SpecError) as caught:
        latency(lambda: None, **{field: 1 if field == "rounds" else -1})
    assert caught.value.field == field
