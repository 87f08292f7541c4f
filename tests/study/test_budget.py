import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.results import ResultStore
from quatrain.specs import Spec, StudyError
from quatrain.study import Run, load_study
from quatrain.study.budget import Budget, Durations, LeftOut, runs_within
from quatrain.study.finished import FinishedRuns
from quatrain.study.order import PlannedOrder

CELLS = "[cell('a'), cell('b', weight=2)]"


class FirstThatFits(PlannedOrder):
    def __init__(self, runs, may_start):
        super().__init__(runs)
        self._may_start = may_start

    def pop(self):
        runs = self.clear()
        fitting = [run for run in runs if self._may_start(run)]
        self.put(run for run in runs if run not in fitting[:1])
        return fitting[0] if fitting else None


def fake_runs(number):
    return [Run(f"{n:064}", n, Spec(), (f"one/{n}",)) for n in range(number)]


def durations_of(path, store):
    study = load_study(path)
    finished = FinishedRuns(store, study.select(), study.metric)
    finished.update()
    return Durations(study, store, study.select(), finished), study.select()


@given(
    st.lists(st.floats(0.01, 100) | st.none(), min_size=1, max_size=12),
    st.floats(0.1, 300),
    st.integers(1, 4),
)
def test_no_run_ends_after_the_budget(seconds, budget, jobs):
    runs = fake_runs(len(seconds))
    by_run = dict(zip((run.identity for run in runs), seconds, strict=True))
    duration = lambda run: by_run[run.identity]  # noqa: E731
    started = runs_within(lambda may: FirstThatFits(runs, may), duration, budget, jobs)
    assert len({run.identity for run in started}) == len(started)
    free = [0.0] * jobs
    for run in started:
        free.sort()
        free[0] += duration(run)
    assert max(free) <= budget * (1 + 1e-12)
    left = [run for run in runs if run not in started]
    assert all(duration(run) is None or min(free) + duration(run) > budget for run in left)


@given(st.floats(0.1, 100), st.floats(0, 200), st.floats(0, 100) | st.none())
def test_a_run_is_allowed_if_it_ends_in_time(seconds, passed, duration):
    now = 1000.0
    budget = Budget(seconds, lambda _: duration, lambda: now)
    now += passed
    (run,) = fake_runs(1)
    left = 1000.0 + seconds - now
    assert budget.seconds_left == max(0.0, left)
    assert budget.allows(run) == (left > 0 and (duration or 0.0) <= left)
    assert budget.left_out([run]) == [LeftOut("one/0 seed 0", duration)]


@pytest.mark.parametrize("seconds", [0, -1.0, float("inf"), float("nan")])
def test_a_budget_is_a_positive_number(seconds):
    with pytest.raises(StudyError) as error:
        Budget(seconds, lambda _: None)
    assert error.value.field == "budget"


def test_durations_are_those_of_the_cell_or_of_the_study(write_study, finish, tmp_path):
    path = write_study(CELLS, "(0, 1, 2)")
    durations, runs = durations_of(path, ResultStore(tmp_path / "out"))
    assert durations.seconds(runs[0]) is None
    store = finish(path, ["a"], seeds=(0, 1))
    for run, seconds in zip(load_study(path).select(["a"]), (10.0, 30.0), strict=False):
        record = store.record(run.identity)
        changed = record.model_copy(update={"seconds": seconds, "other_seconds": 5.0})
        (store.folder(run.identity) / "record.json").write_text(changed.to_json())
    durations, runs = durations_of(path, store)
    by_label = {run.label: durations.seconds(run) for run in runs}
    assert by_label["one/a seed 2"] == 35.0
    assert by_label["one/b seed 0"] == 35.0
    assert durations.of_cell(runs[0]) == 35.0
    assert [durations.of_cell(run) for run in runs if run.labels == ("one/b",)] == [None] * 3


def test_a_paused_run_takes_its_remaining_steps(write_study, finish):
    path = write_study(CELLS, "(0, 1)")
    store = finish(path, ["a"], seeds=(0,))
    paused = load_study(path).select(["a"], [1])[0]
    folder = store.folder(paused.identity)
    folder.mkdir(parents=True)
    (folder / "checkpoint.safetensors").write_text("[3, 0]")
    (folder / "metrics.jsonl").write_text(json.dumps({"step": 3}) + "\n")
    durations, runs = durations_of(path, store)
    other = store.record(runs[0].identity).other_seconds
    assert durations.seconds(paused) == pytest.approx(0.25 * 0.5 + other)
