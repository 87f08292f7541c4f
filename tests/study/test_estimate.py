from types import SimpleNamespace

import pytest

from quatrain.results import ResultStore
from quatrain.study import load_study
from quatrain.study.estimate import Trial, plan_study


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path / "out")


def rows_of(path, store, trial=None):
    study = load_study(path)
    return plan_study(study, store, study.select(), trial)


def test_without_a_record_the_hours_are_unknown(write_study, store):
    (row,) = rows_of(write_study("[cell('a')]", "(0,)"), store)
    assert (row.state, row.hours, row.source) == ("absent", None, "unknown")


def test_the_hours_of_a_finished_seed_are_those_of_the_other_seeds(write_study, store, finish):
    path = write_study("[cell('a'), cell('b', steps=6)]", "(0, 1)")
    finish(path, ["a"], (0,))
    rows = rows_of(path, store)
    assert [(row.cells[0], row.seed, row.state, row.source) for row in rows] == [
        ("one/a", 0, "done", "record"),
        ("one/b", 0, "absent", "unknown"),
        ("one/a", 1, "absent", "records of seeds 0"),
        ("one/b", 1, "absent", "unknown"),
    ]
    assert (rows[2].steps, rows[2].hours) == (4, 0.5 / 3600)


def test_seeds_beyond_the_study_have_known_hours_too(write_study, store, finish):
    path = write_study("[cell('a')]", "(0, 1)")
    finish(path, seeds=(7,))
    assert [row.source for row in rows_of(path, store)] == ["records of seeds 7"] * 2


def test_cells_with_equal_specs_share_their_hours(write_study, store, finish):
    cells = "[cell('a', 'few'), Cell(name='a', group='many', spec=FakeSpec(), seeds=range(3))]"
    path = write_study(cells, "(0,)")
    finish(path, ["few/a"])
    rows = rows_of(path, store)
    assert [(row.cells, row.source) for row in rows] == [
        (("few/a", "many/a"), "record"),
        (("many/a",), "records of seeds 0"),
        (("many/a",), "records of seeds 0"),
    ]


def test_a_plan_of_many_runs_reads_each_record_once(write_study, store, monkeypatch):
    study = load_study(
        write_study("[cell(str(n), weight=n + 1) for n in range(100)]", "tuple(range(20))")
    )
    reads = []
    record = ResultStore.record
    monkeypatch.setattr(
        ResultStore, "record", lambda self, one: reads.append(one) or record(self, one)
    )
    compared = []
    equal = type(study.cells[0].spec).__eq__
    monkeypatch.setattr(
        type(study.cells[0].spec), "__eq__", lambda a, b: compared.append(1) or equal(a, b)
    )
    plan_study(study, store, study.select())
    assert len(reads) == len(set(reads)) == 2000
    assert compared == []


def pace(seconds_a_step, stop_at):
    """A training that advances a clock."""
    trained = []

    def train(task, folder, *, seed, device, notify):
        trained.append(task)
        for step in range(1, stop_at + 1):
            clock.now += seconds_a_step
            notify(SimpleNamespace(step=step, steps=100))
        return SimpleNamespace(objective=None, steps=stop_at, seconds=1.0)

    clock = SimpleNamespace(now=0.0)
    return train, clock, trained


def test_a_trial_extrapolates_its_pace_and_tries_each_cell_once(write_study, store, monkeypatch):
    train, clock, trained = pace(2.0, 100)
    monkeypatch.setattr("quatrain.study.estimate.time.monotonic", lambda: clock.now)
    trial = Trial(data=None, device="cpu", train=train, seconds=10.0)
    rows = rows_of(write_study("[cell('a')]", "(0, 1)"), store, trial)
    assert [(row.source, row.steps, row.hours) for row in rows] == [("trial", 100, 200 / 3600)] * 2
    assert (len(trained), clock.now) == (1, 12.0)


def test_a_cell_that_ends_within_the_trial_is_measured_completely(write_study, store, monkeypatch):
    train, clock, _ = pace(2.0, 3)
    monkeypatch.setattr("quatrain.study.estimate.time.monotonic", lambda: clock.now)
    trial = Trial(data=None, device="cpu", train=train, seconds=10.0)
    (row,) = rows_of(write_study("[cell('a')]", "(0,)"), store, trial)
    assert (row.steps, row.hours) == (3, 6 / 3600)


RECIPE = """
class Recipe(Spec):
    processes: int = 1

class TrainingSpec(FakeSpec):
    recipe: Recipe = Recipe()

"""


def test_a_cell_of_several_processes_has_no_trial_and_does_not_hide_the_others(
    write_study, store, monkeypatch
):
    train, clock, trained = pace(2.0, 100)
    monkeypatch.setattr("quatrain.study.estimate.time.monotonic", lambda: clock.now)
    trial = Trial(data=None, device="cpu", train=train, seconds=10.0)
    spec = "TrainingSpec(recipe=Recipe(processes=2))"
    path = write_study(f"[Cell(name='b', group='one', spec={spec}), cell('a')]", "(0,)")
    path.write_text(path.read_text().replace("study = ", f"{RECIPE}study = "))
    rows = rows_of(path, store, trial)
    assert [(row.source, row.hours) for row in rows] == [("unknown", None), ("trial", 200 / 3600)]
    assert len(trained) == 1


def test_a_spec_may_estimate_its_gpu_hours(write_study, store):
    path = write_study("[cell('a')]", "(0,)")
    source = path.read_text()
    path.write_text(
        source.replace(
            "    def open(", "    def gpu_hours(self):\n        return 30.0\n\n    def open("
        )
    )
    assert [row.gpu_hours for row in rows_of(path, store)] == [30.0]


def test_the_gpu_hours_of_a_cell_are_estimated_once(write_study, store, tmp_path):
    path, calls = write_study("[cell('a'), cell('b', weight=2)]", "range(9)"), tmp_path / "calls"
    count = f"        with open({str(calls)!r}, 'a') as file:\n            file.write('x')\n"
    method = f"    def gpu_hours(self):\n{count}"
    path.write_text(path.read_text().replace("    def open(", f"{method}\n    def open("))
    assert len(rows_of(path, store)) == 18
    assert calls.read_text() == "xx"
