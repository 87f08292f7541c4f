"""A rank alone: its last message, and its end with the process that started it."""

import subprocess
from multiprocessing import Pipe
from types import SimpleNamespace

import pytest

from quatrain.study import load_study
from quatrain.study.processes import RANK
from quatrain.study.protocol import Failed, Order


@pytest.fixture
def start(write_study, tmp_path):
    """Start a rank for a run of a study file; return its process and the pipe of its messages."""
    ranks = []

    def begin(source="", order=None):
        path = write_study("[cell('a', trouble='data')]", seeds="(0,)")
        (run,) = load_study(path).select()
        path.write_text(source + path.read_text())
        order = order or Order(run.identity, 0)
        reader, writer = Pipe(duplex=False)
        words = [*RANK, str(path), "--folder", str(tmp_path), "--order", order.to_line()]
        words += ["--messages", str(writer.fileno()), "--host", "127.0.0.1", "--port", "1"]
        words += ["--device", "cpu", "--threads", "1", "--num-workers", "0"]
        process = subprocess.Popen(words, stdin=subprocess.PIPE, pass_fds=(writer.fileno(),))
        writer.close()
        ranks.append(SimpleNamespace(process=process, messages=reader))
        return ranks[-1]

    yield begin
    for rank in ranks:
        rank.process.kill()
        rank.process.communicate()
        rank.messages.close()


def failure(rank):
    message = rank.messages.recv()
    assert isinstance(message, Failed)
    assert rank.process.poll() is None
    return message.described


SLEEP = """
import os, time
from pathlib import Path
Path("started").touch()
time.sleep(120)
"""


def test_a_rank_ends_when_its_stdin_closes(start, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    rank = start(SLEEP)
    while not (tmp_path / "started").exists():
        assert rank.process.poll() is None
    rank.process.stdin.close()
    assert rank.process.wait(60) == 1
    with pytest.raises(EOFError):
        rank.messages.recv()


def test_a_study_file_that_does_not_load_concerns_no_single_run(start):
    described = failure(start("raise ValueError('edited')\n"))
    assert "edited" in described.message
    assert (described.external, described.is_stored) == (True, False)


def test_a_run_that_the_study_file_has_no_longer_concerns_no_single_run(start):
    described = failure(start(order=Order("0" * 64, 0)))
    assert (described.external, described.is_stored) == (True, False)


@pytest.mark.slow
def test_an_error_is_described_and_the_rank_stays(start):
    described = failure(start())
    assert described.message == "the task reads data; pass --data"
    assert "DataError" in described.traceback
    assert (described.external, described.is_stored) == (True, False)
