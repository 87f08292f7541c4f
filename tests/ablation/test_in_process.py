import subprocess
import sys
from pathlib import Path

import pytest

from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study


def test_a_script_runs_its_study_and_writes_the_report(study_file, tmp_path):
    done = subprocess.run(
        [sys.executable, study_file()], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert "6/6 done" in done.stdout
    assert (tmp_path / "runs/mine/report/report.html").is_file()


def test_a_second_call_goes_on_with_what_is_missing(study_file, tmp_path, capsys):
    study = load_study(study_file())
    study.run(tmp_path / "out", cells=["w/o"], seeds=[0])
    report = study.run(tmp_path / "out")
    assert len(report.study.all_records()) == 6
    assert "6/6" in capsys.readouterr().out


def test_failed_runs_raise_after_all_others_were_executed(study_file, tmp_path):
    path = study_file(
        ("def train(model, seed, device):", "def train(model, seed, device):\n    fail(model)"),
        (
            "RATE = 0.1",
            "RATE = 0.1\n\ndef fail(model):\n    assert not hasattr(model.second, 'block')",
        ),
    )
    study = load_study(path)
    with pytest.raises(StudyError) as info:
        study.run(tmp_path / "out")
    assert "4 of 6 runs failed" in str(info.value)
    store = ResultStore(tmp_path / "out")
    assert [store.state(run.identity).value for run in study.select(["w/o"])] == ["done"] * 2


def test_a_missing_file_ends_the_study_without_a_record(study_file, tmp_path):
    path = study_file(("optimizer = torch", "open('missing.csv')\n    optimizer = torch"))
    study = load_study(path)
    with pytest.raises(StudyError, match=r"ended the study: .*missing\.csv"):
        study.run(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("failure.json"))


def test_a_run_does_not_change_the_current_folder(study_file, tmp_path):
    path = study_file(("optimizer = torch", "__import__('os').chdir('/')\n    optimizer = torch"))
    load_study(path).run(tmp_path / "out", cells=["w/o"])
    assert Path.cwd() == tmp_path


def test_run_under_no_guard_is_refused(study_file):
    path = study_file(('if __name__ == "__main__":\n    study', "study"))
    with pytest.raises(StudyError) as info:
        load_study(path)
    assert "__main__" in str(info.value)


def test_runs_of_another_process_are_waited_for(study_file, tmp_path, monkeypatch):
    study = load_study(study_file())
    store = ResultStore(tmp_path / "out")
    first = study.select()[0]
    claim = store.claim(first.identity)
    claim.__enter__()
    waits = []

    def sleep(seconds):
        waits.append(seconds)
        claim.__exit__(None, None, None)

    monkeypatch.setattr("quatrain.ablation.in_process.time.sleep", sleep)
    report = study.run(tmp_path / "out", cells=["w/o"], seeds=[0])
    assert len(waits) == 1
    assert len(report.study.all_records()) == 1


def test_cells_that_compute_the_same_and_seeds_that_change_nothing_are_noted(study_file, tmp_path):
    path = study_file(
        ("nn.Conv2d(4, 2, 1)", "nn.Conv2d(4, 2, 1).double()"),
        ("self.first(x).relu()", "self.first(x).relu().double()"),
        ('["w/o", "0010", "1111"]', '{"one": None, "two": None}'),
        ("import quatrain\n", "import quatrain\n\nSEED = 0\n"),
        (
            "        super().__init__()",
            "        torch.manual_seed(SEED)\n        super().__init__()",
        ),
        ("optimizer = torch", "torch.manual_seed(SEED)\n    optimizer = torch"),
    )
    study = load_study(path)
    changed = study.cells[1].spec.model_copy(update={"settings": {"steps": 4}})
    cells = [study.cells[0], study.cells[1].model_copy(update={"spec": changed})]
    report = study.model_copy(update={"cells": tuple(cells)}).run(tmp_path / "out")
    texts = [note.text for note in report.table.notes]
    assert any("compute the same: one, two" in text for text in texts)
    assert any("make no use of the seed: network/one, network/two" in text for text in texts)


CELLS = (
    "import torch, quatrain\nfrom torch import nn",
    "WIDTH, images = 4, torch.rand(4, 3, 5, 6)",
    "class Net(nn.Sequential):\n"
    "    def __init__(self):\n"
    "        super().__init__(nn.Conv2d(3, WIDTH, 1), nn.Conv2d(WIDTH, 1, 1))",
    "def train(network, seed, device):\n    network[0].weight.data.mul_(0.5)",
    "def evaluate(network, device):\n    return {'error': network(images).square().mean().item()}",
)
STUDY = (
    "study = quatrain.ablate(build=Net, train=train, evaluate=evaluate, before='1', heads=2,"
    "    example=images, mixers=['w/o', '0010'], seeds=1, metric='error')"
)


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    """Executes a cell in a shell of IPython, and returns its value."""
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path / "ipython"))
    monkeypatch.chdir(tmp_path)
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()

    def execute(text):
        ran = shell.run_cell(text)
        ran.raise_error()
        return ran.result

    yield execute
    InteractiveShell.clear_instance()


def test_a_notebook_runs_its_study(notebook, tmp_path):
    for cell in (*CELLS, STUDY):
        notebook(cell)
    report = notebook("study.run('out')")
    assert "2 of 2 runs" in repr(report)
    assert (tmp_path / "out" / "report" / "report.html").is_file()
    known = notebook("study.cells[0].spec.code")
    notebook(f"{CELLS[3]}  # as before")
    notebook(STUDY)
    assert notebook("study.cells[0].spec.code") == known
    notebook("WIDTH = 6")
    notebook(STUDY)
    assert notebook("study.cells[0].spec.code") != known
