"""docs/reliability.md, and the benchmarks of load and kills on a few runs."""

import ast
import random
import sys
from pathlib import Path

import pytest
from benchmarks import kill_targets, kills, load, many_runs, reliability
from benchmarks.result import Result

from quatrain.report.build import load_report
from quatrain.results import ResultStore
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]


def test_the_page_is_generated_from_the_published_results():
    assert reliability.PAGE.read_text() == reliability.page(reliability.published())


def test_the_published_load_is_within_its_bounds_or_marked():
    rows = reliability.published()["load"].rows
    table = reliability.load_table(rows)
    assert len(rows) == 11
    missed = [row for row in rows if row["measured"] > row["bound"]]
    assert table.count("**") == 2 * len(missed)


@pytest.mark.parametrize("fault", reliability.FAULTS, ids=lambda fault: fault.test)
def test_each_fault_names_a_test(fault):
    tree = ast.parse((ROOT / fault.file).read_text())
    assert fault.test in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_a_missed_bound_is_bold():
    row = {"what": "a", "unit": "s", "bound": 5.0, "wall": 7.12, "peak memory, MiB": 1234}
    size = {"what": "b", "unit": "MiB", "bound": 10.0, "wall": "-", "peak memory, MiB": "-"}
    table = reliability.load_table([{**row, "measured": 6.04}, {**size, "measured": 3.0}])
    assert table.splitlines()[2:] == [
        "| a | 5 s | **6.0 s** | 7.1 s | 1,234 MiB |",
        "| b | 10 MiB | 3.0 MiB | - | - |",
    ]


def test_many_runs_are_finished_runs_of_their_study(tmp_path):
    path = many_runs.write_runs(tmp_path / "out", cells=30, seeds=2)
    store = ResultStore(tmp_path / "out")
    runs = load_study(path).select()
    assert len(runs) == len(store.all_records()) == 60
    assert all(store.record(run.identity).spec_code == run.spec_code for run in runs)
    report = load_report(store)
    assert [len(report.curves), len(report.differences.rows)] == [30, 28]


@pytest.mark.slow
def test_the_load_benchmark_measures_each_command(tmp_path):
    result = load.measure(cells=3, seeds=2, runs=4, rounds=1)
    assert len(result.rows) == 11
    assert all(row["measured"] > 0 for row in result.rows[2:])
    assert Result.from_json(result.to_json()) == result


def test_a_failed_command_is_an_error_with_its_last_line(tmp_path):
    with pytest.raises(load.InputError, match=r"has no study\.json"):
        load.usage_of(["report", tmp_path])


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("target", ["worker", "all at once"])
def test_a_killed_study_ends_with_equal_results(target, tmp_path, monkeypatch):
    monkeypatch.setattr(kills, "LONGEST_WAIT", 8.0)
    engine, choose = kill_targets.Local(tmp_path), random.Random(1)
    row = kills.campaign(tmp_path, engine, "local", target, kills=1, runs=2, choose=choose)
    assert row["kills"] == 1
    assert (row["lost"], row["doubled"], row["changed"]) == (0, 0, 0)


def test_an_unknown_engine_is_an_error():
    with pytest.raises(kills.InputError) as caught:
        kills.measure("local,pbs", runs=1, seed=1, rounds=1)
    assert caught.value.field == "engines"
