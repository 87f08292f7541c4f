import resource
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from quatrain.cost import memory, peak_memory
from quatrain.specs import InputError

MEBIBYTE = 2**20

MEASURED = """
import torch

torch.set_num_threads(1)


def temporary(mebibytes, kept=0):
    held = torch.ones(kept * 2**18)

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


def test_the_peak_is_what_the_call_needs_above_its_inputs(measured):
    needed = peak_memory("measured:temporary", {"mebibytes": 96, "kept": 64})
    assert needed + MEBIBYTE >= 96 * MEBIBYTE
    assert needed < 112 * MEBIBYTE


def test_a_child_that_fails_is_reported_with_its_reason(measured):
    with pytest.raises(InputError, match="ValueError: the data are gone"):
        peak_memory("measured:broken", {})


def test_a_name_that_is_no_function_is_refused():
    with pytest.raises(InputError, match='prepare is "math:nothing"'):
        peak_memory("math:nothing", {})


def test_without_a_resettable_mark_the_first_call_is_measured_above_the_process_peak(monkeypatch):
    peaks = iter([SimpleNamespace(ru_maxrss=100), SimpleNamespace(ru_maxrss=164)])
    monkeypatch.setattr(resource, "getrusage", lambda _: next(peaks))
    monkeypatch.setattr(sys, "platform", "freebsd")
    calls = []
    assert memory._process_peak(lambda: calls.append(1)) == 64 * 1024
    assert len(calls) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="the status file is Linux's")
def test_an_unknown_line_of_the_status_file_is_refused():
    with pytest.raises(InputError, match="VmNothing"):
        memory._status("VmNothing")


def test_a_file_in_the_current_folder_stands_for_no_module(measured, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    Path("queue.py").write_text("raise RuntimeError('not the queue that was meant')")
    assert peak_memory("measured:temporary", {"mebibytes": 8}) > 0
