import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import StudyError
from quatrain.study.resources import (
    Resources,
    allocate,
    available_cores,
    check_alone,
    check_device,
    check_num_workers,
)


@pytest.mark.parametrize(
    ("runs", "options", "expected"),
    [
        (9, {}, Resources(2, 1)),
        (1, {}, Resources(1, 2)),
        (9, {"jobs": 1}, Resources(1, 2)),
        (9, {"jobs": 4}, Resources(4, 1)),
        (9, {"threads": 2}, Resources(1, 2)),
        (1, {"threads": 1}, Resources(1, 1)),
    ],
)
def test_two_cores_are_filled(runs, options, expected):
    assert allocate(runs, "cpu", cores=2, **options) == expected


def test_the_processes_of_a_run_share_the_cores():
    assert allocate(9, "cpu", processes=2, cores=8) == Resources(4, 1)
    assert allocate(1, "cpu", processes=2, cores=8) == Resources(1, 4)
    assert allocate(9, "cpu", processes=4, cores=2) == Resources(1, 1)


def test_a_gpu_has_one_job_by_default():
    assert allocate(9, "cuda", cores=8) == Resources(1, 8)
    assert allocate(9, "cuda", jobs=2, cores=8) == Resources(2, 4)


@pytest.mark.parametrize("field", ["jobs", "threads"])
def test_fewer_than_one_is_an_error(field):
    with pytest.raises(StudyError) as error:
        allocate(3, "cpu", **{field: 0})
    assert error.value.field == field


def test_a_study_is_one_process(monkeypatch):
    check_alone()
    monkeypatch.setenv("WORLD_SIZE", "2")
    check_alone()  # some schedulers set it, and start one process
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(StudyError) as error:
        check_alone()
    assert "--device cuda:0, cuda:1" in str(error.value)


@given(st.integers(1, 100), st.integers(1, 128))
def test_the_default_uses_at_most_all_cores(runs, cores):
    resources = allocate(runs, "cpu", cores=cores)
    assert 1 <= resources.jobs * resources.threads <= cores


def test_this_machine_has_a_core():
    assert available_cores() >= 1


@pytest.mark.slow
def test_a_device_that_this_machine_lacks_is_an_error():
    check_device("cpu")
    with pytest.raises(StudyError) as error:
        check_device("no such device", 2)
    assert "no such device" in str(error.value)


@pytest.mark.slow
def test_worker_processes_need_a_fork(monkeypatch):
    check_num_workers(2)
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["spawn"])
    check_num_workers(0)
    with pytest.raises(StudyError) as error:
        check_num_workers(2)
    assert error.value.field == "num_workers"
