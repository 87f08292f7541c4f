import json

import pytest

from quatrain.specs import MissingPackageError, StoredFileError, StudyError
from quatrain.study.engines import (
    Job,
    JobState,
    JobStates,
    JobWatch,
    NoAnswerError,
    NoClusterError,
    active_jobs,
    cancel_jobs,
    state_text,
    stored_jobs,
)
from quatrain.study.engines import jobs as engines
from quatrain.study.engines.jobs import forget_job, keep_job


def job(name, **fields):
    return Job(engine="fake", name=name, workers=2, submitted="2026-01-01T00:00:00+00:00", **fields)


def test_jobs_are_kept_in_the_order_of_their_submission(store):
    assert stored_jobs(store) == ()
    keep_job(store, job("a"))
    keep_job(store, job("b"))
    keep_job(store, job("b", id="2"))
    keep_job(store, job("c"))
    forget_job(store, job("c"))
    assert [(each.name, each.id) for each in stored_jobs(store)] == [("a", None), ("b", "2")]
    assert [each.label for each in stored_jobs(store)] == ["fake job a", "fake job 2"]


@pytest.mark.parametrize("text", ["{", '{"jobs": [{"name": "a"}]}'])
def test_a_damaged_file_is_one_sentence(store, text):
    store.root.mkdir()
    (store.root / "jobs.json").write_text(text)
    with pytest.raises(StoredFileError, match="delete this file"):
        stored_jobs(store)
    assert JobWatch(store).lines()[0].startswith("The state of the jobs is unknown: ")


@pytest.mark.parametrize("name", ["a,b", "", "a b", "a;b"])
def test_a_name_selects_one_job(name):
    with pytest.raises(StudyError):
        job(name)


def test_active_jobs_are_those_that_the_engine_has(store, engine):
    for name in "abc":
        keep_job(store, job(name, id=None if name == "b" else name))
    engine.active = {"b": JobState("7", waiting=1), "other": JobState("8", running=1)}
    ((found, state),) = active_jobs(store)
    assert (found.name, found.id, state.waiting) == ("b", "7", 1)


def test_only_active_jobs_are_cancelled(store, engine):
    for name in "ab":
        keep_job(store, job(name, id=name))
    engine.active = {"b": JobState("b", running=2)}
    ((cancelled, state),) = cancel_jobs(store).active
    assert (cancelled.name, state.running, engine.active) == ("b", 2, {})
    assert [each.cancelled for each in stored_jobs(store)] == [False, True]
    assert cancel_jobs(store) == JobStates([], [])


def test_a_job_whose_cluster_is_lost_does_not_hide_the_others(store, engine):
    keep_job(store, job("a", address="lost"))
    assert active_jobs(store) == []
    keep_job(store, job("b", address="here"))
    engine.active = {"b": JobState("b", running=2)}
    assert [each.name for each, _ in active_jobs(store)] == ["b"]
    assert JobWatch(store).lines() == ["fake job b: 2 workers run"]
    jobs = cancel_jobs(store)
    assert [each.name for each, _ in jobs.active] == ["b"]
    ((lost, error),) = jobs.unknown
    assert (lost.name, type(error)) == ("a", NoClusterError)
    assert [each.cancelled for each in stored_jobs(store)] == [False, True]


def test_jobs_are_cancelled_although_another_engine_does_not_answer(store, engine, monkeypatch):
    def no_answer(_):
        raise NoAnswerError("no answer", "other")

    monkeypatch.setitem(engines.ENGINES, "other", no_answer)
    keep_job(store, job("a").model_copy(update={"engine": "other"}))
    keep_job(store, job("b"))
    engine.active = {"b": JobState("b", running=2)}
    with pytest.raises(NoAnswerError):
        active_jobs(store)
    jobs = cancel_jobs(store)
    assert [each.name for each, _ in jobs.active] == ["b"]
    assert [each.name for each, _ in jobs.unknown] == ["a"]
    assert engine.active == {}


def test_jobs_of_a_package_that_is_not_installed_are_not_active(store, engine, monkeypatch):
    def missing(_):
        raise MissingPackageError("no package", "ray")

    keep_job(store, job("a"))
    monkeypatch.setattr(engine, "states", missing)
    assert active_jobs(store) == []
    assert cancel_jobs(store).errors(without_cluster=False) == []


def test_a_file_of_an_older_version_has_no_addresses(store):
    keep_job(store, job("a", address="here"))
    path = store.root / "jobs.json"
    document = json.loads(path.read_text())
    del document["jobs"][0]["address"]
    path.write_text(json.dumps(document))
    assert [each.address for each in stored_jobs(store)] == [None]


def test_a_job_of_an_unknown_engine_is_one_sentence(store):
    keep_job(store, job("a"))
    (line,) = JobWatch(store).lines()
    assert "the engine fake; use the newer quatrain" in line


def test_the_engine_is_called_rarely_and_jobs_have_ended_after_two_looks(store, engine):
    assert JobWatch(store).lines() == []
    keep_job(store, job("a"))
    engine.active = {"a": JobState("1", running=1)}
    rare = JobWatch(store, seconds=1000)
    assert rare.lines() == ["fake job 1: 1 worker runs"]
    engine.active = {}
    assert rare.lines() == ["fake job 1: 1 worker runs"]
    often = JobWatch(store, seconds=0)
    assert often.lines() == ["No job is active."]
    assert not often.has_ended
    often.lines()
    assert often.has_ended
    assert not rare.has_ended


def test_jobs_have_ended_after_two_looks_without_a_cluster(store, engine, monkeypatch):
    def states(_):
        raise NoClusterError("no cluster", "fake")

    keep_job(store, job("a"))
    monkeypatch.setattr(engine, "states", states)
    looks = JobWatch(store, seconds=0)
    assert "unknown: no cluster" in looks.lines()[0]
    assert not looks.has_ended
    looks.lines()
    assert looks.has_ended


def test_jobs_have_not_ended_while_their_engine_does_not_answer(store, engine):
    keep_job(store, job("a"))
    engine.error = NoAnswerError("no answer", "fake")
    looks = JobWatch(store, seconds=0)
    assert [len(looks.lines()) for _ in range(3)] == [1, 1, 1]
    assert not looks.has_ended


@pytest.mark.parametrize(
    ("state", "text"),
    [
        (JobState("1", running=1), "1 worker runs"),
        (JobState("1", running=3), "3 workers run"),
        (JobState("1", waiting=1, reason="Priority"), "1 worker waits (Priority)"),
        (JobState("1", waiting=21, running=3, reason="None"), "3 workers run, 21 wait"),
        (JobState("1", waiting=1, running=3), "3 workers run, 1 waits"),
    ],
)
def test_states_in_words(state, text):
    assert state_text(state) == text
