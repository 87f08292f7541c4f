import sys

import pytest

from quatrain.results import Measurement, ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.measure import MeasurementSetup, check_idle, measurable, measure_run

LAYER = """

def build(self):
    import torch

    class Objective(torch.nn.Module):
        def forward(self, x):
            assert not self.training
            return (x[0] @ x[0].T).sum()

    return Objective()


def example_batch(self):
    import torch

    return {"x": [torch.ones(512, 512)]}


Task.build, Task.example_batch = build, example_batch
"""


def test_a_busy_machine_is_an_error():
    check_idle(load=0.4, cores=2)
    with pytest.raises(StudyError) as error:
        check_idle(load=1.7, cores=2)
    assert error.value.field == "load average"


def test_only_the_first_finished_run_of_each_cell_is_measured(write_study, finish):
    path = write_study("[cell('a'), cell('b', weight=2)]")
    runs = measurable(load_study(path).select(), finish(path, ["a"]))
    assert [run.label for run in runs] == ["one/a seed 0"]


def test_cells_that_share_runs_are_measured_once(write_study, finish):
    cells = "[cell('a', 'few'), Cell(name='a', group='many', spec=FakeSpec(), seeds=range(3))]"
    path = write_study(cells, seeds="(0,)")
    runs = measurable(load_study(path).select(), finish(path))
    assert [run.label for run in runs] == ["few/a seed 0"]


COUNT = """

def cost(self, objective):
    total = objective(self.example_batch()["x"]).item()
    return {"multiply_adds": 5.0, "paper_multiply_adds": total}


Task.cost = cost
"""


def measure_added_costs(path, store, **fields):
    """Measure the finished run of a study whose task has learned to count one more cost."""
    path.write_text(path.read_text() + LAYER + COUNT)
    setup = MeasurementSetup(study=path, store=store, data=None, device="cpu", threads=1, **fields)
    return measure_run(load_study(path).select()[0], setup)


def test_costs_that_the_record_lacks_are_counted(write_study, finish):
    path = write_study("[cell('a')]", "(0,)")
    store = finish(path)
    run = load_study(path).select()[0]
    record = store.record(run.identity)
    counted = measure_added_costs(path, store, count_only=True)
    assert counted.cost == {"paper_multiply_adds": 512.0**3}
    assert (counted.median_seconds, counted.peak_bytes) == (None, None)
    assert store.measurement(run.identity) == counted
    assert store.record(run.identity) == record


def test_counting_keeps_an_earlier_latency(write_study, finish):
    path = write_study("[cell('a')]", "(0,)")
    store = finish(path)
    run = load_study(path).select()[0]
    earlier = Measurement(
        median_seconds=0.5, spread_seconds=0.1, rounds=30, peak_bytes=7, device="cuda", threads=4,
        versions={"torch": "2.0"},
    )  # fmt: skip
    store.write_measurement(run.identity, earlier)
    counted = measure_added_costs(path, store, count_only=True)
    assert counted == earlier.model_copy(update={"cost": {"paper_multiply_adds": 512.0**3}})


def test_without_a_missing_cost_nothing_is_written(write_study, finish):
    path = write_study("[cell('a')]", "(0,)")
    store = finish(path)
    path.write_text(path.read_text() + LAYER)
    setup = MeasurementSetup(
        study=path, store=store, data=None, device="cpu", threads=1, count_only=True
    )
    run = load_study(path).select()[0]
    assert measure_run(run, setup).cost is None
    assert store.measurement(run.identity) is None


ONCE = "import sys\nassert not hasattr(sys, 'of_this_test')\nsys.of_this_test = True\n"


@pytest.mark.slow
def test_a_measurement_has_median_spread_and_memory(write_study, tmp_path):
    """The study file is loaded once in a process, since custom operators are registered once."""
    path = write_study("[cell('a')]", "(0,)")
    path.write_text(ONCE + path.read_text() + LAYER)
    store = ResultStore(tmp_path / "out")
    setup = MeasurementSetup(study=path, store=store, data=None, device="cpu", threads=1)
    try:
        run = load_study(path).select()[0]
        measurement = measure_run(run, setup)
    finally:
        del sys.of_this_test
    assert measurement.rounds >= 30
    assert measurement.median_seconds > 0
    assert measurement.spread_seconds >= 0
    assert measurement.peak_bytes >= 512 * 512 * 2  # the kernel counts pages loosely
    assert measurement.threads == 1
    assert store.measurement(run.identity) == measurement
