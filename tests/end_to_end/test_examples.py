"""Each file of examples/ runs on few steps, and is short."""

import json
from pathlib import Path

import pytest

from quatrain.results import ResultStore, RunState
from quatrain.study import load_study

EXAMPLES = Path(__file__).parents[2] / "examples"
SHORTER = {
    "resumable": [("steps=300", "steps=6"), ("warmup_steps=20", "warmup_steps=2")],
    "plain_loop": [("EPOCHS, TRAINING = 12, 1297", "EPOCHS, TRAINING = 1, 96")],
    "detection_loop": [("range(100)", "range(3)"), ("1297, 1397", "1297, 1301")],
    "with_lightning": [("max_epochs=12", "max_epochs=1"), ("images[:1297]", "images[:96]"),
                       ("classes[:1297]", "classes[:96]")],
    "with_transformers": [("max_steps=200", "max_steps=3"), ("4000", "96")],
}  # fmt: skip
NEEDS = {"with_lightning": "lightning", "with_transformers": "transformers"}
"""Packages of the extra `examples`, by the example that imports them."""


@pytest.fixture
def shortened(tmp_path, monkeypatch):
    """Writes an example with fewer steps into the current folder, and returns its path."""
    monkeypatch.chdir(tmp_path)

    def write(name, *replacements):
        text = (EXAMPLES / f"{name}.py").read_text()
        for old, new in (*SHORTER[name], *replacements):
            assert old in text
            text = text.replace(old, new)
        path = tmp_path / f"{name}.py"
        path.write_text(text)
        return path

    return write


def example(name):
    """An example as a parameter; imports of its packages take seconds, and warn."""
    if name not in NEEDS:
        return name
    marks = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
    return pytest.param(name, marks=marks)


@pytest.mark.parametrize("name", SHORTER)
def test_an_example_is_short(name):
    limit = 70 if name == "resumable" else 60
    assert len((EXAMPLES / f"{name}.py").read_text().splitlines()) < limit


def test_each_example_is_run():
    assert {path.stem for path in EXAMPLES.glob("*.py")} == {*SHORTER}


@pytest.mark.parametrize("name", [example(name) for name in SHORTER])
def test_an_example_runs(shortened, name):
    if name in NEEDS:
        pytest.importorskip(NEEDS[name], reason=f"{NEEDS[name]} is not installed")
    study = load_study(shortened(name))
    cells = [study.cells[0].name, study.cells[1].name]
    report = study.run("out", cells=cells, seeds=[0])
    records = report.study.all_records()
    assert {record.cell.partition("/")[2] for record in records} == set(cells)
    assert all(study.metric in record.metrics for record in records)


STOP = """
def stop(progress):
    from pathlib import Path
    if Path("stop").exists() and progress.step >= 4:
        raise KeyboardInterrupt
"""


def test_a_training_resumes_from_its_checkpoint(shortened, tmp_path):
    path = shortened(
        "resumable",
        ("checkpoint_every=50", "checkpoint_every=2, report_every=1"),
        ("str(device))", "str(device), notify=stop)"),
        ("\ndef build", f"{STOP}\ndef build"),
    )
    study = load_study(path)
    (run,) = study.select(["1111"], [0])
    (tmp_path / "stop").touch()
    with pytest.raises(KeyboardInterrupt):
        study.run("resumed", cells=["1111"], seeds=[0])
    assert ResultStore(tmp_path / "resumed").state(run.identity) is RunState.PAUSED
    (tmp_path / "stop").unlink()
    results = {}
    for out in ("resumed", "whole"):
        study.run(out, cells=["1111"], seeds=[0])
        results[out] = ResultStore(tmp_path / out).record(run.identity).metrics
    log = (tmp_path / "resumed" / "runs" / run.identity[:16] / "metrics.jsonl").read_text()
    assert [line["step"] for line in map(json.loads, log.splitlines()) if "loss" in line] == [
        1, 2, 3, 4, 5, 6,
    ]  # fmt: skip
    assert results["resumed"] == results["whole"]


@pytest.mark.slow
def test_the_script_of_the_docs_answers_its_question(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    page = (EXAMPLES.parent / "docs" / "your_network.md").read_text()
    text = page.partition("```python\n")[2].partition("```")[0]
    assert "1297" in text
    (tmp_path / "mine.py").write_text(text.replace("1297", "96").replace("[96:]", "[96:160]"))
    report = load_study(tmp_path / "mine.py").run("out", seeds=[0, 1], cells=["w/o", "0010"])
    assert next(row.seeds for row in report.differences.rows) == 2
    assert (tmp_path / "out" / "report" / "report.html").is_file()
