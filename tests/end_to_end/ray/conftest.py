"""Fixtures of tests on a Ray cluster."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake.ray_cluster import RayCluster, missing, wait_until_ended
from quatrain.cli import cluster as cli
from quatrain.cli.main import app
from quatrain.results import ResultStore
from quatrain.study.engines import cancel_jobs, stored_jobs

PROGRAM = (sys.executable, str(Path(__file__).parents[2] / "fake" / "program.py"))


@pytest.fixture(scope="session")
def shared_cluster():
    reason = missing()
    if reason:
        pytest.skip(reason)
    cluster = RayCluster()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(shared_cluster, monkeypatch, out):
    """The cluster with both nodes; at the end, the jobs of `out` are cancelled."""
    shared_cluster.add_second_node()
    monkeypatch.setenv("RAY_ADDRESS", shared_cluster.address)
    yield shared_cluster
    cancel_jobs(ResultStore(out))
    wait_until_ended(stored_jobs(ResultStore(out)))


@pytest.fixture
def call(monkeypatch):
    """Call `quatrain study ...`, whose workers train without torch."""
    reason = missing()
    if reason:
        pytest.skip(reason)
    monkeypatch.setattr(cli, "PROGRAM", PROGRAM)
    monkeypatch.setattr(cli, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(cli, "_JOB_SECONDS", 1.0)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)

    return invoke


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
