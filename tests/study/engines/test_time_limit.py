import pytest

from quatrain.study import load_study
from quatrain.study.engines.time_limit import expected_seconds, seconds_of_a_worker


@pytest.mark.parametrize(
    ("seconds", "workers", "needed"),
    [
        ([3600.0], 1, 600 + 1.5 * 3600),
        ([3600.0], 9, 600 + 1.5 * 3600),
        ([10.0, 100.0, 50.0], 2, 600 + 2 * 150),
        ([10.0] * 7, 3, 600 + 3 * 15),
        ([], 1, None),
        ([10.0, None], 1, None),
    ],
)
def test_each_run_of_a_worker_may_be_the_longest_and_take_half_as_long_again(
    seconds, workers, needed
):
    assert seconds_of_a_worker(seconds, workers) == needed


def test_a_run_is_expected_to_take_as_long_as_those_of_its_own_cell(write_study, finish):
    path = write_study("[cell('a'), cell('b', weight=2)]")
    store = finish(path, ["a"], (0,))
    study = load_study(path)
    runs = [run for run in study.select() if run.seed == 1]
    own, other = expected_seconds(study, store, runs, device="cpu", threads=1)
    assert own >= 0.5
    assert other is None


@pytest.mark.parametrize(("device", "threads"), [("cuda:0", 1), ("cpu", 2), ("mps", 1)])
def test_finished_runs_on_another_device_or_with_other_threads_do_not_count(
    write_study, finish, device, threads
):
    path = write_study("[cell('a')]")
    store = finish(path, seeds=(0,))
    study = load_study(path)
    options = {"device": device, "threads": threads}
    assert expected_seconds(study, store, study.select(seeds=[1]), **options) == [None]


def test_finished_runs_on_another_gpu_of_the_same_type_count(write_study, finish, monkeypatch):
    monkeypatch.setattr("quatrain.study.execute.device_name", lambda _: "cuda:3 (NVIDIA H100)")
    path = write_study("[cell('a')]")
    store = finish(path, seeds=(0,))
    study = load_study(path)
    (own,) = expected_seconds(study, store, study.select(seeds=[1]), device="cuda:0", threads=1)
    assert own >= 0.5
