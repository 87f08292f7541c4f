"""Fixtures of tests on a Slurm cluster."""

import pytest

from fake.slurm_cluster import SlurmCluster, missing
from fake.study_command import study_command


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
    return study_command(monkeypatch)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
