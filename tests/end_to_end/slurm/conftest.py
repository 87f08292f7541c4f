"""Fixtures of tests on a Slurm cluster."""

import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake.slurm_cluster import SlurmCluster, missing
from quatrain.cli import cluster as cli
from quatrain.cli.main import app

PROGRAM = (sys.executable, str(Path(__file__).parents[2] / "fake" / "program.py"))


@pytest.fixture(scope="session")
def shared_cluster(tmp_path_factory):
    reason = missing()
    if reason:
        pytest.skip(reason)
    cluster = SlurmCluster(tmp_path_factory.mktemp("slurm"))
    cluster.start()
    yield cluster
    cluster.stop()


@pytest.fixture
def cluster(shared_cluster, monkeypatch):
    """The cluster without a job, which the programs of Slurm in this process use."""
    monkeypatch.setenv("SLURM_CONF", shared_cluster.environment["SLURM_CONF"])
    yield shared_cluster
    shared_cluster.call("scancel", "--user=root")
    shared_cluster.wait_until(lambda: not shared_cluster.queue())


@pytest.fixture
def call(cluster, monkeypatch):
    """Call `quatrain study ...`, whose workers train without torch."""
    monkeypatch.setattr(cli, "PROGRAM", PROGRAM)
    monkeypatch.setattr(cli, "_LOOK_SECONDS", 0.2)
    monkeypatch.setattr(cli, "_JOB_SECONDS", 1.0)

    def invoke(*arguments):
        return CliRunner().invoke(app, ["study", *map(str, arguments)], catch_exceptions=False)

    return invoke


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
