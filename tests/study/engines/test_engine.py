import subprocess
import sys
from pathlib import Path

import typer.main

from quatrain.cli.main import app
from quatrain.study.engines import Workers


def command_of(**fields):
    fields = {"study": Path("a.py"), "out": Path("o u t"), "count": 3, **fields}
    return Workers(**fields).command()


def parsed(words):
    """The values that `quatrain study work` receives."""
    command = typer.main.get_command(app).commands["study"].commands["work"]
    return command.make_context("work", words).params


def test_the_command_of_a_worker_has_the_absolute_path_of_this_python():
    words = command_of()
    assert words[0] == sys.executable
    program = [*words[: words.index("work")], "--help"]
    done = subprocess.run(program, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Write, plan, run" in done.stdout


def test_the_program_understands_the_command_of_a_worker():
    fields = {"data": Path("d"), "device": "cuda:0", "threads": 2, "num_workers": 1}
    words = command_of(cells=("a*", "g/b"), seeds=(0, 4), **fields)
    params = parsed(words[words.index("work") + 1 :])
    where = {"study": Path("a.py"), "out": Path("o u t")}
    expected = {**where, "cells": ["a*", "g/b"], "seeds": "0,4", **fields}
    assert {name: value for name, value in params.items() if value is not None} == expected


def test_all_cells_and_seeds_are_the_default():
    words = command_of()
    params = parsed(words[words.index("work") + 1 :])
    assert not params["cells"]
    assert params["seeds"] is None
