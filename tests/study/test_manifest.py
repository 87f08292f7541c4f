import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from quatrain.results import Failure, ResultStore, RunState
from quatrain.specs import StoredFileError
from quatrain.study import load_study
from quatrain.study.manifest import maintained_manifest


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def store(out):
    return ResultStore(out)


def seeds_of(store):
    return {f"{cell.group}/{cell.name}": set(cell.identities) for cell in store.manifest().cells}


AB = "[cell('a'), cell('b', weight=2)]"


def mark_done(store, runs):
    """Write empty records, so that the runs are done."""
    for run in runs:
        store.folder(run.identity).mkdir(parents=True, exist_ok=True)
        (store.folder(run.identity) / "record.json").touch()


def test_seeds_beyond_the_study_extend_it_and_stay_in_the_manifest(write_study, finish, store):
    path = write_study("[cell('a')]", seeds="(0,)")
    finish(path, seeds=(7,))
    finish(path)
    assert seeds_of(store) == {"one/a": {0, 7}}


def test_finished_runs_of_removed_seeds_stay_in_the_manifest(write_study, finish, store):
    path = write_study(AB, seeds="(0, 1, 2, 3, 4)")
    finish(path, ["a"], (0, 3))
    assert seeds_of(store) == {"one/a": {0, 1, 2, 3, 4}, "one/b": {0, 1, 2, 3, 4}}
    finish(write_study(AB))
    assert seeds_of(store) == {"one/a": {0, 1, 3}, "one/b": {0, 1}}


def test_extra_seeds_belong_to_the_selected_cells(write_study, finish, store):
    finish(write_study(AB, seeds="(0,)"), ["a"], (7,))
    assert seeds_of(store) == {"one/a": {0, 7}, "one/b": {0}}


def test_failed_runs_of_removed_seeds_leave_the_manifest(write_study, store):
    study = load_study(write_study("[cell('bad')]", seeds="(0,)"))
    runs = study.select(seeds=(7,))
    with maintained_manifest(store, study, runs):
        failure = Failure(reason="error", message="no", traceback="", step=1)
        store.write_failure(runs[0].identity, failure)
    assert seeds_of(store) == {"one/bad": {0, 7}}
    with maintained_manifest(store, study, study.select()):
        pass
    assert seeds_of(store) == {"one/bad": {0}}


def test_runners_that_start_together_keep_the_seeds_of_each_other(write_study, finish, store):
    path = write_study("[cell('a')]", seeds="(0,)")
    runners = [
        threading.Thread(target=finish, args=(path,), kwargs={"seeds": (seed,)}) for seed in (7, 8)
    ]
    with store.lock_manifest():
        for runner in runners:
            runner.start()
        assert not (store.root / "study.json").exists()
    for runner in runners:
        runner.join()
    assert seeds_of(store) == {"one/a": {0, 7, 8}}


ABC = "[cell('a'), cell('b', weight=2), cell('c', weight=3)]"


@pytest.mark.timeout(60)
def test_a_runner_that_changes_nothing_needs_no_lock(write_study, finish, store):
    study = load_study(write_study("[cell('a')]"))
    runs = study.select()
    with maintained_manifest(store, study, runs):
        pass
    written = (store.root / "study.json").stat().st_mtime_ns
    with store.lock_manifest() as is_locked, maintained_manifest(store, study, runs):
        assert is_locked
        with store.lock_manifest(0.1) as is_locked_again:
            assert not is_locked_again
    assert (store.root / "study.json").stat().st_mtime_ns == written


def test_the_manifest_of_an_edited_study_file_is_kept(write_study, store):
    study = load_study(write_study(AB, seeds="(0,)"))
    with maintained_manifest(store, study, study.select()):
        edited = load_study(write_study(ABC, seeds="(0, 1)"))
        with maintained_manifest(store, edited, edited.select(["c"])):
            mark_done(store, edited.select(["c"]))
        newer = store.manifest()
        mark_done(store, study.select())
    assert store.manifest() == newer
    assert seeds_of(store) == {"one/a": {0, 1}, "one/b": {0, 1}, "one/c": {0, 1}}


def test_runs_of_removed_or_edited_cells_are_not_added(write_study, store):
    study = load_study(write_study(AB, seeds="(0,)"))
    runs = study.select(seeds=(5,))
    with maintained_manifest(store, study, runs):
        edited = load_study(write_study("[cell('a', weight=7), cell('c')]", seeds="(0,)"))
        with maintained_manifest(store, edited, edited.select()):
            pass
        newer = store.manifest()
        mark_done(store, runs)
    assert store.manifest() == newer


class BrokenError(Exception):
    """The error of a test."""


@pytest.mark.parametrize("error", [None, KeyboardInterrupt, BrokenError, SystemExit])
def test_finished_runs_of_a_seed_that_another_runner_removed_are_added(write_study, store, error):
    study = load_study(write_study("[cell('a')]", seeds="(0,)"))
    runs = study.select(seeds=(4, 5))

    def work():
        with maintained_manifest(store, study, runs):
            with maintained_manifest(store, study, study.select(seeds=(6,))):
                assert seeds_of(store) == {"one/a": {0, 6}}
            mark_done(store, runs[1:])
            if error is not None:
                raise error

    if error is None:
        work()
    else:
        with pytest.raises(error):
            work()
    assert seeds_of(store) == {"one/a": {0, 5, 6}}


def test_a_damaged_manifest_does_not_replace_the_first_error(write_study, store):
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


def test_a_deleted_manifest_is_written_again(write_study, store):
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


@pytest.mark.slow
def test_an_interrupted_runner_adds_its_finished_seeds(write_study, command, store):
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


def test_an_extra_seed_of_a_cell_is_added_also_if_another_group_has_it(write_study, finish, store):
    path = write_study(SHARED)
    finish(path, ["few/*"], (3,))
    assert [record.cell for record in store.all_records()] == ["few/a"]
    assert seeds_of(store) == {"few/a": {0, 1, 3}, "many/a": {0, 1, 2, 3}}
    finish(path, ["few/*"])
    assert seeds_of(store) == {"few/a": {0, 1, 3}, "many/a": {0, 1, 2, 3}}


def test_cells_that_share_runs_keep_their_own_seeds(write_study, finish, store):
    finish(write_study(SHARED))
    assert seeds_of(store) == {"few/a": {0, 1}, "many/a": {0, 1, 2, 3}}
    cells = [record.cell for record in sorted(store.all_records(), key=lambda each: each.seed)]
    assert cells == ["few/a", "few/a", "many/a", "many/a"]


def test_fields_of_a_newer_version_stay_in_the_manifest(write_study, finish, out):
    cells = (
        "[cell('a'), Cell(name='b', group='one', spec=FakeSpec(weight=2), "
        "expected=__import__('quatrain.study').study.Expectation(low=1, because='it counts'))]"
    )
    comparisons = "[Comparison(left='a', right='b', group='one')]"
    path = write_study(cells, seeds="(0,)", comparisons=comparisons)
    finish(path)
    file = out / "study.json"
    content = json.loads(file.read_text())
    content["budget"] = 5
    content["cells"][1]["color"] = "red"
    content["cells"][1]["expected"]["source"] = "a page"
    content["comparisons"][0]["margin"] = 0.5
    file.write_text(json.dumps(content))
    finish(path, seeds=(0, 7))
    content["cells"] = json.loads(file.read_text())["cells"]
    assert [set(cell["identities"]) for cell in content["cells"]] == [{"0", "7"}] * 2
    assert content["cells"][1]["color"] == "red"
    assert content["cells"][1]["expected"]["source"] == "a page"
    assert json.loads(file.read_text()) == content
