"""Fixtures of tests on a Ray cluster."""

import pytest

from fake.ray_cluster import RayCluster, missing, wait_until_ended
from fake.study_command import study_command
from quatrain.results import ResultStore
from quatrain.study.engines import cancel_jobs, stored_jobs


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
    return study_command(monkeypatch)


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"
