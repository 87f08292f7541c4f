import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from quatrain.specs import MissingPackageError, StudyError
from quatrain.study.engines import JobState, NoAnswerError, NoClusterError, Ray, Workers
from quatrain.study.engines import ray as engine
from quatrain.study.engines.ray import local_cluster

NAME = "quatrain-a-1f3a9c20"


@pytest.fixture
def some(tmp_path):
    """Four workers."""
    return Workers(study=Path("a.py"), out=tmp_path / "out", count=4, threads=2, num_workers=1)


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """Write a driver that stores its request and prints lines; it reads the last request."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: object())
    stored = tmp_path / "request.json"

    def write(*answers, code=""):
        lines = "".join(f"{json.dumps(answer)}\n" for answer in answers)
        program = (
            f"import os, sys, time; open({str(stored)!r}, 'w').write(sys.stdin.read()); "
            f"print({lines!r}, end='', flush=True); {code}"
        )
        monkeypatch.setattr(engine, "_DRIVER", (sys.executable, "-c", program))
        return lambda: json.loads(stored.read_text())

    return write


def test_a_job_has_an_actor_per_worker(driver, some):
    request = driver({}, {})
    assert Ray().start(some, NAME) == NAME
    assert request() == {
        "address": "auto",
        "name": NAME,
        "count": 4,
        "command": some.command(),
        "folder": str(Path.cwd()),
        "logs": str(some.out / "logs"),
        "resources": {"num_cpus": 3, "num_gpus": 0, "resources": {}},
    }
    assert (some.out / "logs").is_dir()


def test_each_worker_gets_one_gpu_and_the_amounts_of_the_options(driver, some):
    request = driver({}, {})
    Ray().start(replace(some, device="cuda:0"), NAME)
    assert request()["resources"] == {"num_cpus": 3, "num_gpus": 1, "resources": {}}
    Ray().start(replace(some, device="cuda:0", processes=2), NAME)
    assert request()["resources"] == {"num_cpus": 6, "num_gpus": 2, "resources": {}}
    Ray(("num_gpus=0.5", "num_cpus=1", "memory=8000000000", "accelerator_type:A100=1")).start(
        some, NAME
    )
    custom = {"resources": {"accelerator_type:A100": 1}}
    assert request()["resources"] == {"num_cpus": 1, "num_gpus": 0.5, "memory": 8 * 10**9, **custom}


@pytest.mark.parametrize("option", ["num_gpus", "num_gpus=-1", "=1", "a b=1", "num_gpus=many", ""])
def test_options_are_checked_before_anything_is_submitted(option):
    with pytest.raises(StudyError) as error:
        Ray((option,))
    assert error.value.field == "--ray"


def test_the_state_of_a_job_counts_its_workers(driver):
    request = driver({}, {"states": {NAME: {"waiting": 1, "running": 2, "reason": "full"}}})
    expected = {NAME: JobState(NAME, waiting=1, running=2, reason="full")}
    assert Ray().states([NAME, "other"]) == expected
    assert request()["names"] == [NAME, "other"]
    assert Ray().states([]) == {}


def test_jobs_are_cancelled_at_the_address_of_the_environment(driver, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    request = driver({}, {})
    Ray().cancel([NAME])
    assert request() == {"address": "10.0.0.1:6379", "names": [NAME]}


def test_a_cluster_is_called_at_the_address_of_its_job(driver, monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    request = driver({}, {})
    Ray(address="10.0.0.2:6379").cancel([NAME])
    assert request() == {"address": "10.0.0.2:6379", "names": [NAME]}


def test_the_address_of_a_cluster_is_found_once_and_used_from_then_on(driver):
    driver({}, {"address": "10.0.0.3:6379"})
    engine = Ray()
    assert engine.has_cluster()
    request = driver({}, {})
    assert engine.address() == "10.0.0.3:6379"
    engine.cancel([NAME])
    assert request()["address"] == "10.0.0.3:6379"


@pytest.mark.parametrize("code", ["", "os.kill(os.getpid(), 9)", "time.sleep(30)"])
def test_a_driver_without_an_answer_does_not_say_that_there_is_no_cluster(driver, some, code):
    driver(code=code)
    with pytest.raises(NoAnswerError):
        Ray(seconds=2).start(some, NAME)
    with pytest.raises(NoAnswerError):
        Ray(seconds=2).has_cluster()


def test_without_a_cluster_nothing_was_submitted(driver, some, monkeypatch):
    driver({"error": "no route"})
    for call in (lambda: Ray().start(some, NAME), lambda: Ray().states([NAME])):
        with pytest.raises(NoClusterError):
            call()
    assert not Ray().has_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(NoClusterError, match=r"10\.0\.0\.1:6379"):
        Ray().has_cluster()


def test_a_local_address_has_no_cluster(driver, some, monkeypatch):
    driver({}, {"address": "10.0.0.1:6379"})
    assert Ray().has_cluster()
    monkeypatch.setenv("RAY_ADDRESS", "local")
    assert not Ray().has_cluster()
    with pytest.raises(NoClusterError):
        Ray().start(some, NAME)


@pytest.mark.parametrize("code", ["", "time.sleep(30)"])
def test_a_cluster_that_stops_to_answer_may_have_the_job(driver, some, code):
    driver({}, code=code)
    with pytest.raises(NoAnswerError) as error:
        Ray(seconds=2).start(some, NAME)
    assert NAME in str(error.value)


def test_a_worker_that_does_not_start_is_one_sentence(driver, some):
    driver({}, {"error": "No such file or directory: '/logs'"})
    with pytest.raises(StudyError) as error:
        Ray().start(some, NAME)
    assert not isinstance(error.value, NoAnswerError | NoClusterError)
    assert "'/logs'" in str(error.value)


def test_without_the_package_its_extra_is_named(some, monkeypatch):
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda _: None)
    for call in (lambda: Ray().start(some, NAME), local_cluster().__enter__):
        with pytest.raises(MissingPackageError, match=r"quatrain\[ray\]"):
            call()


LOCAL = """
import sys
print('{"address": "127.0.0.1:7"}', flush=True)
sys.stdin.read()
open(%r, "w").close()
"""


def test_a_local_cluster_is_that_of_the_environment_in_the_block(driver, monkeypatch, tmp_path):
    driver()
    stopped = tmp_path / "stopped"
    monkeypatch.setattr(engine, "_DRIVER", (sys.executable, "-c", LOCAL % str(stopped)))
    monkeypatch.setenv("RAY_ADDRESS", "local")
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    with local_cluster():
        assert os.environ["RAY_ADDRESS"] == "127.0.0.1:7"
        assert os.environ["RAY_AUTH_MODE"] == "token"
        assert not stopped.exists()
    assert stopped.exists()
    assert os.environ["RAY_ADDRESS"] == "local"
    assert "RAY_AUTH_MODE" not in os.environ


def test_a_local_cluster_that_does_not_start_is_one_sentence(driver, monkeypatch):
    driver()
    program = 'print(\'{"error": "no memory"}\')'
    monkeypatch.setattr(engine, "_DRIVER", (sys.executable, "-c", program))
    with pytest.raises(StudyError, match="no memory") as error, local_cluster():
        pass
    assert error.value.field == "--on"
    assert "RAY_ADDRESS" not in os.environ
