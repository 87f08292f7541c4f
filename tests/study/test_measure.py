import sys

import pytest

from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study.measure import MeasurementSetup, check_idle, measurable, measure_run

LAYER = """

def build(self):
    import torch

    class Objective(torch.nn.Module):
        def forward(self, x):
            assert not self.training
            return (x @ x.T).sum()

    return Objective()


def example_batch(self):
    import torch

    return {"x": torch.ones(512, 512)}


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
