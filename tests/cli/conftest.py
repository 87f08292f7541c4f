import functools

import pytest
from typer.testing import CliRunner

from quatrain.cli import cluster
from quatrain.cli import study as cli
from quatrain.cli.main import app
from quatrain.study import run_study


@pytest.fixture
def call(monkeypatch, command):
    """Call `quatrain study ...`, with workers that train without torch."""
    for module in (cli, cluster):
        monkeypatch.setattr(module, "run_study", functools.partial(run_study, command=command))

    def invoke(*arguments):
        return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)

    return invoke


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
