import json

import pytest

from quatrain.cli import engines
from quatrain.cli.cluster_plan import time_limit_summary, workers_summary
from quatrain.specs import StudyError
from quatrain.study.engines import SubmissionPlan

UNKNOWN = SubmissionPlan(
    workers=4,
    active=0,
    runs=8,
    known=0,
    hours=None,
    hours_of_a_worker=None,
    seconds=None,
    seconds_by_trials=None,
    cells=(),
)


def plan(**fields):
    return SubmissionPlan(**{**vars(UNKNOWN), **fields})


class FakeSlurm:
    """A cluster whose partition allows one hour."""

    name = "slurm"

    def __init__(self, options):
        self.options = options

    def time_limit(self, seconds):
        return None if seconds is None else min(60, round(seconds / 60))


@pytest.fixture(autouse=True)
def slurm(monkeypatch):
    monkeypatch.setattr(engines, "Slurm", FakeSlurm)


@pytest.mark.parametrize(
    ("planned", "text"),
    [
        (
            plan(),
            "of 4 workers on slurm for 8 runs; add --estimate to estimate cells of one process.",
        ),
        (
            plan(active=1, known=3, hours=9.0, hours_of_a_worker=0.5),
            "of 4 workers on slurm for 8 runs besides 1 active worker, about 30.0 min each and "
            "9.0 h in all for the 3 whose duration is known.",
        ),
        (plan(workers=0, active=2), "to slurm: 8 runs left, 2 active workers."),
    ],
)
def test_the_array_in_words(planned, text):
    assert workers_summary(planned, "slurm").endswith(text)


@pytest.mark.parametrize(
    ("planned", "minutes", "parts"),
    [
        (plan(), None, ["not every cell has a finished run on", "as many threads."]),
        (plan(seconds_by_trials=610.0), None, ["by trials --slurm time=11 is enough."]),
        (plan(seconds=610.0), 11, ["each worker: 11:00, by finished runs with a margin."]),
        (plan(seconds=7200.0), 60, ["each worker: 1:00:00, that of the partition", "2:00:00"]),
        (plan(seconds=7200.0), None, ["No time limit would be requested", "may need 2:00:00"]),
    ],
)
def test_the_time_limit_in_words(planned, minutes, parts):
    text = time_limit_summary(planned, minutes)
    assert [part for part in parts if part not in text] == []


def test_a_plan_on_a_cluster_has_its_array_and_the_hours_of_each_cell(
    call, write_study, finish, out
):
    path = write_study("[cell('a'), cell('b', weight=2)]")
    finish(path, seeds=(0,))
    options = ("--out", out, "--on", "slurm", "--seeds", "0-4", "--jobs", 2)
    text = call("plan", path, *options).output
    assert "An array of 2 workers on slurm for 8 runs, about 0.0 min each" in text
    assert "one/b  4 " in text
    document = json.loads(call("plan", path, *options, "--budget", "0.1s", "--json").output)
    assert [run["left_out"] for run in document["runs"]] == [False] * 2 + [True] * 8
    submission = document["submission"]
    assert (submission["engine"], submission["workers"], submission["runs"]) == ("slurm", 2, 8)
    assert submission["time_limit_minutes"] == 10
    assert [cell["cell"] for cell in submission["cells"]] == ["one/a", "one/b"]


def test_a_plan_on_ray_has_workers_without_a_time_limit(call, write_study, out):
    options = ("--out", out, "--on", "ray", "--ray", "num_gpus=0.5", "--seeds", "0-4")
    path = write_study("[cell('a')]")
    text = call("plan", path, *options).output
    assert "\n5 workers on ray for 5 runs" in text
    assert "ime limit" not in text
    submission = json.loads(call("plan", path, *options, "--json").output)["submission"]
    assert (submission["engine"], submission["workers"]) == ("ray", 5)
    assert submission["time_limit_minutes"] is None


def test_a_plan_without_runs_left_has_no_job(call, write_study, finish, out):
    path = write_study("[cell('a')]")
    finish(path)
    options = ("--out", out, "--on", "slurm")
    text = call("plan", path, *options).output
    assert "No worker would be submitted to slurm: 0 runs left, 0 active workers." in text
    submission = json.loads(call("plan", path, *options, "--json").output)["submission"]
    assert (submission["workers"], submission["time_limit_minutes"]) == (0, None)


def test_options_of_a_cluster_need_the_cluster(call, write_study, out):
    with pytest.raises(StudyError) as error:
        call("plan", write_study("[cell('a')]"), "--out", out, "--slurm", "partition=gpu")
    assert error.value.field == "--slurm"
