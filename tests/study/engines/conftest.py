import math

import pytest

from quatrain.results import ResultStore
from quatrain.study.engines import JobState, NoAnswerError, NoClusterError, Workers, jobs


class FakeEngine:
    """An engine that remembers the jobs that it started."""

    name = "fake"

    def __init__(self):
        self.active, self.error = {}, None
        self.ended = set()

    def at(self, address):
        """This engine, for jobs of any address but that of a lost cluster."""
        if address == "lost":
            raise NoClusterError("no cluster answers", "fake")
        return self

    def address(self):
        return "here"

    def time_limit(self, seconds):
        return None if seconds is None else math.ceil(seconds / 60)

    def start(self, workers, name):
        if self.error is not None:
            raise self.error
        self.active[name] = JobState(str(len(self.active) + 1), waiting=workers.count)
        self.workers = workers
        return self.active[name].id

    def states(self, names):
        if isinstance(self.error, NoAnswerError):
            raise self.error
        return {name: self.active[name] for name in names if name in self.active}

    def cancelled(self, names):
        return self.ended & {*names}

    def cancel(self, names):
        for name in names:
            del self.active[name]


@pytest.fixture
def engine(monkeypatch):
    """The engine of the jobs in jobs.json."""
    engine = FakeEngine()
    monkeypatch.setitem(jobs.ENGINES, "fake", engine.at)
    return engine


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


@pytest.fixture
def workers(tmp_path):
    """Any number of workers of the study that `write_study` writes."""
    return Workers(study=tmp_path / "a_study.py", out=tmp_path / "out", count=100)
