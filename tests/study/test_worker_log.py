import os

import pytest

from quatrain.study import worker_log
from quatrain.study.worker_log import shorten_log


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "worker-1.log"
    path.write_text("".join(f"line {number:03}\n" for number in range(200)))
    return path


def test_a_short_log_stays_as_it_is(log):
    before = log.read_text()
    shorten_log(log, limit=1800)
    assert log.read_text() == before


def test_whole_lines_are_kept_at_both_ends(log):
    shorten_log(log, limit=400)
    lines = log.read_text().splitlines()
    assert lines[:11] == [f"line {number:03}" for number in range(11)]
    assert lines[11] == "quatrain: 1,602 bytes left out"
    assert lines[12:] == [f"line {number:03}" for number in range(189, 200)]


def test_the_first_lines_stay_when_it_is_shortened_again(log):
    with log.open("ab", buffering=0) as worker:
        for number in range(500):
            worker.write(b"again %03d\n" % number)
            shorten_log(log, limit=400)
            assert log.stat().st_size <= 400
    lines = log.read_text().splitlines()
    assert (lines[0], lines[10], lines[-1]) == ("line 000", "line 010", "again 499")
    assert lines[11].endswith(" bytes left out")


def test_one_long_line_is_cut(log):
    log.write_bytes(b"x" * 1000)
    shorten_log(log, limit=400)
    assert log.read_bytes() == b"x" * 100 + b"quatrain: 800 bytes left out\n" + b"x" * 100


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo, lambda path: path.symlink_to("other")])
def test_anything_but_a_file_stays_as_it_is(make, log):
    log.rename(log.with_name("other"))
    shorten_log(log, limit=10)
    make(log)
    shorten_log(log, limit=10)
    assert log.with_name("other").stat().st_size == 1800


def test_a_log_has_64_mib_by_default(log):
    with log.open("r+b") as file:
        file.truncate(worker_log.LOG_LIMIT + 1)
    shorten_log(log)
    assert log.stat().st_size < 2**25 + 100
