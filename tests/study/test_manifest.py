import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table
from quatrain.results import ResultStore, RunState
from quatrain.specs import StoredFileError
from quatrain.study import Selection, load_study, run_study
from quatrain.study.manifest import maintained_manifest


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def store(out):
    return ResultStore(out)


def seeds_of(store):
    return {f"{cell.group}/{cell.name}": set(cell.identities) for cell in store.manifest().cells}


def finish(store, runs):
    """Make the runs count as done."""
    for run in runs:
        store.folder(run.identity).mkdir(parents=True, exist_ok=True)
        (store.folder(run.identity) / "record.json").touch()


def test_seeds_beyond_the_study_extend_it_and_stay_in_the_manifest(write_study, command, out):
    path = write_study("[cell('a')]", seeds="(0,)")
    run_study(path, out, select=Selection(seeds=(7,)), command=command)
    run_study(path, out, command=command)
    assert set(ResultStore(out).manifest().cells[0].identities) == {0, 7}


def test_seeds_that_are_given_up_are_planned_no_more_and_what_is_done_stays(
    write_study, command, out
):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0, 1, 2, 3, 4)")
    run_study(path, out, select=Selection(cells=["a"], seeds=(0, 3)), command=command)
    first, second = ResultStore(out).manifest().cells
    assert set(first.identities) == set(second.identities) == {0, 1, 2, 3, 4}
    run_study(write_study("[cell('a'), cell('b', weight=2)]"), out, command=command)
    first, second = ResultStore(out).manifest().cells
    assert (set(first.identities), set(second.identities)) == ({0, 1, 3}, {0, 1})


def test_further_seeds_are_those_of_the_selected_cells_alone(write_study, command, out):
    path = write_study("[cell('a'), cell('b', weight=2)]", seeds="(0,)")
    run_study(path, out, select=Selection(cells=["a"], seeds=(7,)), command=command)
    first, second = ResultStore(out).manifest().cells
    assert (set(first.identities), set(second.identities)) == ({0, 7}, {0})


def test_a_failed_run_of_a_seed_that_is_given_up_is_planned_no_more(write_study, command, out):
    path = write_study("[cell('bad', trouble='error')]", seeds="(0,)")
    run_study(path, out, select=Selection(seeds=(7,)), command=command)
    assert 7 in ResultStore(out).manifest().cells[0].identities
    run_study(path, out, command=command)
    assert set(ResultStore(out).manifest().cells[0].identities) == {0}


def test_runners_that_start_together_keep_the_seeds_of_each_other(write_study, command, out):
    path = write_study("[cell('a')]", seeds="(0,)")
    store = ResultStore(out)
    runners = [
        threading.Thread(
            target=run_study,
            args=(path, out),
            kwargs={"select": Selection(seeds=(seed,)), "command": command},
        )
        for seed in (7, 8)
    ]
    with store.lock_manifest():
        for runner in runners:
            runner.start()
        assert not (out / "study.json").exists()
    for runner in runners:
        runner.join()
    assert set(store.manifest().cells[0].identities) == {0, 7, 8}


AB = "[cell('a'), cell('b', weight=2)]"
ABC = "[cell('a'), cell('b', weight=2), cell('c', weight=3)]"


def test_a_runner_that_ends_keeps_the_manifest_of_an_edited_study_file(write_study, store):
    study = load_study(write_study(AB, seeds="(0,)"))
    with maintained_manifest(store, study, study.select()):
        edited = load_study(write_study(ABC, seeds="(0, 1)"))
        with maintained_manifest(store, edited, edited.select(["c"])):
            finish(store, edited.select(["c"]))
        newer = store.manifest()
        finish(store, study.select())
    assert store.manifest() == newer
    assert seeds_of(store) == {"one/a": {0, 1}, "one/b": {0, 1}, "one/c": {0, 1}}


def test_a_runner_that_ends_adds_nothing_to_cells_that_were_removed_or_edited(write_study, store):
    study = load_study(write_study(AB, seeds="(0,)"))
    runs = study.select(seeds=(5,))
    with maintained_manifest(store, study, runs):
        edited = load_study(write_study("[cell('a', weight=7), cell('c')]", seeds="(0,)"))
        with maintained_manifest(store, edited, edited.select()):
            pass
        newer = store.manifest()
        finish(store, runs)
    assert store.manifest() == newer


class BrokenError(Exception):
    """The error of a test."""


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, BrokenError, SystemExit])
def test_finished_runs_of_a_seed_that_another_runner_dropped_stay_however_the_runner_ends(
    write_study, store, error
):
    study = load_study(write_study("[cell('a')]", seeds="(0,)"))
    runs = study.select(seeds=(4, 5))

    def work():
        with maintained_manifest(store, study, runs):
            with maintained_manifest(store, study, study.select(seeds=(6,))):
                assert seeds_of(store) == {"one/a": {0, 6}}
            finish(store, runs[1:])
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    assert seeds_of(store) == {"one/a": {0, 5, 6}}


def test_a_manifest_that_was_damaged_meanwhile_does_not_hide_the_first_error(write_study, store):
    study = load_study(write_study("[cell('a')]"))

    def work():
        with maintained_manifest(store, study, study.select()):
            (store.root / "study.json").write_text("{")
            raise BrokenError

    with pytest.raises(BrokenError) as caught:
        work()
    assert "could not be added to study.json" in caught.value.__notes__[0]
    with (
        pytest.raises(StoredFileError),
        maintained_manifest(store, study, study.select()),
    ):
        pass


def test_a_manifest_that_was_deleted_meanwhile_is_written_again(write_study, store):
    study = load_study(write_study("[cell('a')]"))
    with maintained_manifest(store, study, study.select()):
        manifest = store.manifest()
        (store.root / "study.json").unlink()
    assert store.manifest() == manifest


INTERRUPTED = """
import signal, sys
from pathlib import Path
from quatrain.study import Selection, run_study
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
run_study(Path(sys.argv[1]), Path(sys.argv[2]), select=Selection(seeds=(4, 5)), jobs=1,
          command=sys.argv[3:])
"""


def test_an_interrupted_runner_keeps_its_finished_seeds_of_which_another_knew_nothing(
    write_study, command, store
):
    path = write_study("[cell('a', steps=30, trouble='slow')]", seeds="(0,)")
    study = load_study(path)
    runner = subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, str(path), str(store.root), *command],
        stderr=subprocess.DEVNULL,
    )
    while not (store.root / "study.json").exists():
        time.sleep(0.01)
    first, second = study.select(seeds=(4, 5))
    with store.lock_manifest():
        store.write_manifest(study.manifest())
    while store.state(first.identity) is not RunState.DONE:
        time.sleep(0.05)
    while store.state(second.identity) is not RunState.RUNNING:
        time.sleep(0.01)
    os.kill(runner.pid, signal.SIGINT)
    runner.wait()
    assert {0, 4} <= seeds_of(store)["one/a"]


SHARED = """[
    Cell(name='a', group='few', spec=FakeSpec()),
    Cell(name='a', group='many', spec=FakeSpec(), seeds=range(4)),
]"""


def test_a_seed_of_a_selected_cell_that_another_group_plans_is_that_of_the_cell_too(
    write_study, command, out, store
):
    path = write_study(SHARED)
    select = Selection(cells=["few/*"], seeds=(3,))
    summary = run_study(path, out, select=select, command=command)
    assert [event.label for event in summary.done] == ["few/a seed 3"]
    assert [record.cell for record in store.all_records()] == ["few/a"]
    assert seeds_of(store) == {"few/a": {0, 1, 3}, "many/a": {0, 1, 2, 3}}
    run_study(path, out, select=Selection(cells=["few/*"]), command=command)
    assert seeds_of(store) == {"few/a": {0, 1, 3}, "many/a": {0, 1, 2, 3}}


def test_a_study_as_written_leaves_each_cell_its_seeds_and_names_runs_by_cells_that_plan_them(
    write_study, command, out, store
):
    run_study(write_study(SHARED), out, command=command)
    assert seeds_of(store) == {"few/a": {0, 1}, "many/a": {0, 1, 2, 3}}
    cells = [record.cell for record in sorted(store.all_records(), key=lambda each: each.seed)]
    assert cells == ["few/a", "few/a", "many/a", "many/a"]


def test_fields_of_a_newer_version_stay_in_the_manifest_and_are_noted(write_study, command, out):
    cells = (
        "[cell('a'), Cell(name='b', group='one', spec=FakeSpec(weight=2), "
        "expected=__import__('quatrain.study').study.Expectation(low=1, because='it counts'))]"
    )
    comparisons = "[Comparison(left='a', right='b', group='one')]"
    path = write_study(cells, seeds="(0,)", comparisons=comparisons)
    run_study(path, out, command=command)
    file = out / "study.json"
    content = json.loads(file.read_text())
    content["budget"] = 5
    content["cells"][1]["color"] = "red"
    content["cells"][1]["expected"]["source"] = "a page"
    content["comparisons"][0]["margin"] = 0.5
    file.write_text(json.dumps(content))
    run_study(path, out, select=Selection(seeds=(0, 7)), command=command)
    content["cells"] = json.loads(file.read_text())["cells"]
    assert [set(cell["identities"]) for cell in content["cells"]] == [{"0", "7"}] * 2
    assert content["cells"][1]["color"] == "red"
    assert content["cells"][1]["expected"]["source"] == "a page"
    assert json.loads(file.read_text()) == content
    (note,) = [
        note for note in build_table(load_runs(ResultStore(out))).notes if "newer quatrain" in note
    ]
    assert all(name in note for name in ("budget", "color", "source", "margin"))
