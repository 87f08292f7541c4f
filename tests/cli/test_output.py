import io
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.table import Table
from rich.text import Text

from quatrain.cli.output import (
    aligned,
    measurement_summary,
    open_console,
    print_json,
    print_line,
    print_rows,
    print_table,
    width_of,
)
from quatrain.results import Measurement


@dataclass
class Row:
    name: str
    hours: float | None
    cells: tuple[str, ...] = ("a", "b")


def test_a_measurement_is_summarized_in_one_line():
    fields = {"device": "cpu", "threads": 1, "versions": {}}
    cost = {"paper_multiply_adds": 1208320.0}
    time = {"median_seconds": 0.00121, "spread_seconds": 2e-5, "peak_bytes": 3.5 * 2**20}
    text = measurement_summary(Measurement(**fields, **time, cost=cost))
    assert text == "1.21 ms (spread 0.02), 3.5 MiB, paper multiply adds 1,208,320"
    assert measurement_summary(Measurement(**fields)) == "the record has all counts"


def test_rows_are_a_table_of_the_chosen_columns(capsys):
    print_rows([Row("[x]", None), Row("y", 0.12345)], ["name", "hours"], as_json=False)
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines == [["name", "hours"], ["[x]", "-"], ["y", "0.123"]]


LETTERS = st.sampled_from(["a", "b", " ", "é", "e\u0301", "漢", "👩"])
LINE = st.lists(LETTERS, min_size=1, max_size=8).map("".join).filter(str.strip)
TEXT = st.lists(LINE, max_size=3).map("\n".join)


@given(st.lists(LINE, min_size=1, max_size=4), st.data())
def test_a_table_of_texts_is_that_of_rich_without_spaces_at_line_ends(head, data):
    table = Table(box=None, pad_edge=False)
    size = len(head)
    rows = data.draw(st.lists(st.lists(TEXT, min_size=size, max_size=size), max_size=5))
    for text in head:
        table.add_column(Text(text))
    for row in rows:
        table.add_row(*map(Text, row))
    console = Console(file=io.StringIO(), width=200)
    console.print(table)
    expected = [line.rstrip(" ") for line in console.file.getvalue().split("\n")]
    assert aligned([head, *rows]) == expected[:-1]


def test_a_long_text_makes_no_other_line_longer(capsys):
    print_rows([Row("x" * 5000, None), Row("y", 1.0)], ["hours", "name"], as_json=False)
    assert [len(line) for line in capsys.readouterr().out.splitlines()] == [11, 5007, 8]


def test_several_names_in_one_field_are_joined(capsys):
    print_rows([Row("x", None)], ["cells"], as_json=False)
    assert "a, b" in capsys.readouterr().out


def test_json_has_every_field(capsys):
    print_rows([Row("x", 0.5)], ["name"], as_json=True)
    assert json.loads(capsys.readouterr().out) == [{"name": "x", "hours": 0.5, "cells": ["a", "b"]}]


def test_json_has_letters_of_all_languages(capsys):
    print_json({"ä": 1})
    assert '"ä": 1' in capsys.readouterr().out


def test_json_with_control_characters_is_ascii(capsys):
    print_json({"a": "\x9b31m \udce9 ä"})
    output = capsys.readouterr().out
    assert output.isascii()
    assert json.loads(output) == {"a": "\x9b31m \udce9 ä"}


def test_control_characters_in_rows_are_escaped(capsys):
    print_rows([Row("\x1b[2Jx", None)], ["name"], as_json=False)
    assert "\\x1b[2Jx" in capsys.readouterr().out


def test_lines_have_no_markup_and_no_control_characters():
    console = Console(file=io.StringIO(), width=40, force_terminal=True)
    print_line(console, "[red]a[/] \x1b[31mb")
    assert console.file.getvalue() == "[red]a[/] \\x1b[31mb\n"


def wide_table():
    table = Table(*(f"column {number}" for number in range(30)))
    table.add_row(*(f"value {number}" for number in range(30)))
    return table


def test_a_table_that_is_wider_than_the_console_is_not_cut():
    console = Console(file=io.StringIO(), width=40)
    print_table(console, wide_table())
    assert all(f"value {number}" in console.file.getvalue() for number in range(30))
    assert "…" not in console.file.getvalue()


def test_the_width_of_a_table_does_not_depend_on_the_terminal():
    assert width_of(wide_table()) > 200


def test_a_file_is_160_columns_wide(capsys):
    assert open_console().width == 160


def test_colours_in_a_file_do_not_make_it_a_terminal(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    console = open_console()
    assert (console.is_interactive, console.width) == (False, 160)


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
