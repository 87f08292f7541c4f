"""The command `quatrain study ...` in the process of a test, whose workers train without torch."""

import sys
from pathlib import Path

from typer.testing import CliRunner

from quatrain.cli import cluster as cli
from quatrain.cli.main import app

PROGRAM = (sys.executable, str(Path(__file__).parent / "program.py"))


def study_command(monkeypatch):
    """A function that calls the command with its arguments, and looks at jobs often."""
    monkeypatch.setattr(cli, "PROGRAM", PROGRAM)
    monkeypatch.setattr(cli, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(cli, "_JOB_SECONDS", 1.0)

    def call(*arguments):
        return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)

    return call
