import sys

import pytest

from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study, run_study
from quatrain.study.measure import MeasurementSetup, check_idle, measurable, measure_run

LAYER = """

def build(self):
    import torch

    class Objective(torch.nn.Module):
        def forward(self, x):
            assert not self.training
            return (x @ x.T).sum()

    return Objective()


def probe_batch(self):
    import torch

    return {"x": torch.ones(512, 512)}


Task.build, Task.probe_batch = build, probe_batch
"""


def test_a_busy_machine_is_refused_with_a_sentence():
    check_idle(load=0.4, cores=2)
    with pytest.raises(StudyError, match=r"load average.*add --busy"):
        check_idle(load=1.7, cores=2)


def test_only_the_first_finished_run_of_each_cell_is_measured(write_study, command, tmp_path):
    path = write_study("[cell('a'), cell('b', trouble='error')]")
    run_study(path, tmp_path / "out", command=command)
    runs = measurable(load_study(path).select(), ResultStore(tmp_path / "out"))
    assert [run.label for run in runs] == ["one/a seed 0"]


def test_cells_that_share_runs_are_measured_once_though_one_has_more_seeds(
    write_study, command, tmp_path
):
    cells = "[cell('a', 'few'), Cell(name='a', group='many', spec=FakeSpec(), seeds=range(3))]"
    path = write_study(cells, seeds="(0,)")
    run_study(path, tmp_path / "out", command=command)
    runs = measurable(load_study(path).select(), ResultStore(tmp_path / "out"))
    assert [run.label for run in runs] == ["few/a seed 0"]


def test_the_study_file_is_read_once_in_a_process(write_study, tmp_path):
    """Some calls may be made once only: of torch's number of threads, of custom operators."""
    path = write_study("[cell('a')]", "(0,)")
    once = "import sys\nassert not hasattr(sys, 'of_this_test')\nsys.of_this_test = True\n"
    path.write_text(once + path.read_text() + LAYER)
    try:
        run = load_study(path).select()[0]
        bench = MeasurementSetup(
            study=path, store=ResultStore(tmp_path / "out"), data=None, device="cpu", threads=1
        )
        assert measure_run(run, bench).rounds >= 30
    finally:
        del sys.of_this_test


def test_a_measurement_has_median_spread_and_memory(write_study, tmp_path):
    path = write_study("[cell('a')]", "(0,)")
    path.write_text(path.read_text() + LAYER)
    store, run = ResultStore(tmp_path / "out"), load_study(path).select()[0]
    bench = MeasurementSetup(study=path, store=store, data=None, device="cpu", threads=1)
    measured = measure_run(run, bench)
    assert measured.rounds >= 30
    assert measured.median_seconds > 0
    assert measured.spread_seconds >= 0
    assert measured.peak_bytes >= 512 * 512 * 2  # the kernel counts pages loosely
    assert measured.threads == 1
    assert store.measurement(run.identity) == measured
