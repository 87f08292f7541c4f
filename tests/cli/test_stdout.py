import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

RESULTS = str(Path(__file__).parents[2] / "docs" / "results" / "digits_detection")

PRINTS = """
import atexit, ctypes, os, sys
print("from the study file")
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


def test_json_is_the_only_output_on_stdout(noisy, tmp_path):
    done = run("study", "plan", noisy, "--out", tmp_path / "out", "--json")
    assert [row["seed"] for row in json.loads(done.stdout)] == [0]
    for text in ("from the study file", "of the process", "descriptor", "from C", "at the end"):
        assert text in done.stderr


def test_a_table_is_the_only_output_on_stdout(noisy, tmp_path):
    done = run("study", "plan", noisy, "--out", tmp_path / "out")
    assert done.stdout.splitlines()[0].split() == ["cells", "seed", "state", "steps", "hours",
                                                   "source"]  # fmt: skip
    assert done.stdout.splitlines()[-1].startswith("1 run to do")


def test_a_reader_that_closes_the_pipe_is_no_error(noisy, tmp_path):
    command = [sys.executable, "-c", "from quatrain.cli.main import main; main()"]
    words = ["study", "plan", str(noisy), "--out", str(tmp_path / "out"), "--json"]
    process = subprocess.Popen([*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    assert b"BrokenPipe" not in process.stderr.read()
    process.stderr.close()
    process.wait()


PROGRAM = "from quatrain.cli.main import main; main()"
WITH_FAKE_WORKERS = """
import functools
from quatrain.cli import study
study.run_study = functools.partial(study.run_study, command={command})
"""


def call_with(redirection, *words, program=PROGRAM):
    """Run the program in a shell with a stream closed."""
    line = shlex.join([sys.executable, "-c", program, *map(str, words)])
    return subprocess.run(
        ["sh", "-c", f"exec {line} {redirection}"], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", "<&- >&- 2>&-"])
def test_a_study_runs_with_streams_closed(write_study, command, tmp_path, closed):
    path = write_study("[cell('a', trouble='data')]", "(0,)")
    program = WITH_FAKE_WORKERS.format(command=command) + PROGRAM
    words = ("study", "run", path, "--out", tmp_path / "out", "--jobs", "1")
    done = call_with(closed, *words, program=program)
    assert "Traceback" not in done.stderr
    assert done.returncode == 2
    assert ("pass --data" in done.stderr) == ("2>&-" not in closed)


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    "words",
    [["study", "status", RESULTS], ["study", "status", RESULTS, "--json"], ["--help"]],
    ids=["status", "json", "help"],
)
def test_commands_succeed_with_stdout_closed(closed, words):
    done = call_with(closed, *words)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_json_is_one_document_with_stderr_closed(noisy, tmp_path):
    done = call_with("2>&-", "study", "plan", noisy, "--out", tmp_path / "out", "--json")
    assert [row["seed"] for row in json.loads(done.stdout)] == [0]
