import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

RESULTS = str(Path(__file__).parents[2] / "docs" / "results" / "digits_detection")

PRINTS = """
import atexit, ctypes, os, sys
print("while it is read")
sys.__stdout__.write("to the stdout of the process\\n")
os.write(1, b"to the descriptor\\n")
ctypes.CDLL(None).puts(b"from C")
atexit.register(print, "at the end")
"""


def run(*words, cwd=None):
    return subprocess.run(
        [sys.executable, "-c", "from quatrain.cli.main import main; main()", *map(str, words)],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
    )


@pytest.fixture
def noisy(write_study):
    path = write_study("[cell('a')]", "(0,)")
    path.write_text(PRINTS + path.read_text())
    return path


def test_json_is_one_document_whatever_the_study_file_prints(noisy, tmp_path):
    done = run("study", "plan", noisy, "--out", tmp_path / "out", "--json")
    assert [row["seed"] for row in json.loads(done.stdout)] == [0]
    for printed in ("while it is read", "of the process", "descriptor", "from C", "at the end"):
        assert printed in done.stderr


def test_a_table_is_alone_on_stdout_too(noisy, tmp_path):
    done = run("study", "plan", noisy, "--out", tmp_path / "out")
    assert done.stdout.splitlines()[0].split() == ["cells", "seed", "state", "steps", "hours",
                                                   "source"]  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("1 run to do")


def test_a_reader_that_has_seen_enough_is_no_error(noisy, tmp_path):
    command = [sys.executable, "-c", "from quatrain.cli.main import main; main()"]
    words = ["study", "plan", str(noisy), "--out", str(tmp_path / "out"), "--json"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"BrokenPipe" not in process.stderr.read()
    process.stderr.close()
    process.wait()


def call_with(redirection, *words):
    """Run the program in a shell with a stream closed."""
    program = shlex.join([sys.executable, "-c", "from quatrain.cli.main import main; main()"])
    line = f"exec {program} {shlex.join(map(str, words))} {redirection}"
    return subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=False)


CLOSED = [">&-", "2>&-", "<&-", "<&- >&-", "<&- >&- 2>&-"]


@pytest.mark.parametrize("closed", CLOSED)
def test_a_study_runs_with_streams_closed(write_study, tmp_path, closed):
    path = write_study("[cell('a', trouble='data')]", "(0,)")
    done = call_with(closed, "study", "run", path, "--out", tmp_path / "out", "--jobs", "1")
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert ("give --data" in done.stderr) == ("2>&-" not in closed)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words",
    [
        ["study", "status", RESULTS],
        ["study", "status", RESULTS, "--json"],
        ["report", RESULTS, "--json"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_commands_print_nothing_to_a_closed_stream_and_end_well(closed, words):
    done = call_with(closed, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_is_one_document_with_stderr_closed(noisy, tmp_path):
    done = call_with("2>&-", "study", "plan", noisy, "--out", tmp_path / "out", "--json")
    assert [row["seed"] for row in json.loads(done.stdout)] == [0]
