import json
import os

import pytest

from quatrain.results import Failure, ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study
from quatrain.study import progress as module
from quatrain.study.progress import StudyWatch


@pytest.fixture
def study(write_study):
    return load_study(write_study("[cell('a'), cell('b', steps=9), cell('c', steps=8)]", "(0, 1)"))


@pytest.fixture
def store(tmp_path, study):
    store = ResultStore(tmp_path / "out")
    store.write_manifest(study.manifest())
    return store


def run_of(study, cell, seed=0):
    return study.select([cell], [seed])[0]


def write_log(store, run, *lines, steps=None):
    folder = store.folder(run.identity)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    if steps is not None:
        (folder / "spec.json").write_text(json.dumps({"recipe": {"steps": steps}}))


def test_each_run_has_its_state_and_its_numbers(store, study, finish, tmp_path):
    runs = [run_of(study, cell) for cell in "abc"]
    finish(tmp_path / "a_study.py", cells=["a"], seeds=[0])
    write_log(store, runs[1], {"step": 30, "seconds": 60.0}, steps=100)
    store.write_failure(
        runs[2].identity, Failure(reason="error", message="no", traceback="...", step=5)
    )
    with store.claim(runs[1].identity):
        progress = StudyWatch(store).look()
    by_run = {run.identity: run for run in progress.runs}
    done, running, failed = (by_run[run.identity] for run in runs)
    assert (done.state, done.step, done.steps, done.metric) == ("done", 4, 4, 4.0)
    assert (running.state, running.step, running.steps) == ("running", 30, 100)
    assert running.seconds_left == pytest.approx(140)
    assert (failed.state, failed.step, failed.message) == ("failed", 5, "error: no")
    assert progress.counts == {"done": 1, "running": 1, "failed": 1, "absent": 3}
    assert running.label == "one/b seed 0"
    assert not progress.is_over


def test_the_time_left_is_that_of_waiting_runs_too(store, study):
    a0, b0 = run_of(study, "a"), run_of(study, "b")
    write_log(store, a0, {"step": 50, "seconds": 50.0}, steps=100)
    write_log(store, b0, {"step": 10, "seconds": 30.0}, steps=100)
    with store.claim(a0.identity), store.claim(b0.identity):
        progress = StudyWatch(store).look()
    # 50 + 270 s are left of the running ones, 100 of a1, 300 of b1, their mean of c0 and c1
    assert progress.seconds_left == pytest.approx((50 + 270 + 100 + 300 + 2 * 200) / 2)


def test_the_time_left_is_at_least_that_of_the_slowest_run(store, study, finish, tmp_path):
    a0, b0 = run_of(study, "a"), run_of(study, "b")
    finish(tmp_path / "a_study.py", cells=["c"])
    finish(tmp_path / "a_study.py", cells=["a", "b"], seeds=[1])
    write_log(store, a0, {"step": 99, "seconds": 99.0}, steps=100)
    write_log(store, b0, {"step": 1, "seconds": 50.0}, steps=100)
    with store.claim(a0.identity), store.claim(b0.identity):
        progress = StudyWatch(store).look()
    assert progress.seconds_left == pytest.approx(99 * 50)


def test_without_a_running_run_the_time_left_is_unknown(store):
    assert StudyWatch(store).look().seconds_left is None


def test_a_run_that_has_no_step_yet_takes_as_long_as_others(store, study):
    a0, b0 = run_of(study, "a"), run_of(study, "b")
    with store.claim(a0.identity):
        progress = StudyWatch(store).look()
    assert progress.of_state("running")[0].step is None
    assert progress.seconds_left is None
    write_log(store, b0, {"step": 50, "seconds": 50.0}, steps=100)
    with store.claim(a0.identity), store.claim(b0.identity):
        progress = StudyWatch(store).look()
    assert progress.seconds_left == pytest.approx((100 + 50 + 4 * 100) / 2)


def test_the_study_is_over_when_all_runs_are_done_or_failed(store, study, finish, tmp_path):
    finish(tmp_path / "a_study.py", cells=["a", "b"])
    for run in study.select(["c"]):
        store.write_failure(
            run.identity, Failure(reason="error", message="no", traceback="", step=0)
        )
    progress = StudyWatch(store).look()
    assert progress.is_over
    assert len(progress.of_state("done")) == 4


def test_a_log_that_grows_belongs_to_a_running_run_of_another_machine(store, study, monkeypatch):
    run = run_of(study, "a")
    write_log(store, run, {"step": 10, "seconds": 1.0})
    watch = StudyWatch(store)
    assert watch.look().runs[0].state == "absent"
    write_log(store, run, {"step": 10, "seconds": 1.0}, {"step": 20, "seconds": 2.0}, steps=40)
    assert watch.look().runs[0].state == "running"
    assert watch.look().runs[0].seconds_left == pytest.approx(2.0)
    monkeypatch.setattr(module, "ACTIVE_SECONDS", 0.0)
    assert watch.look().runs[0].state == "absent"


def test_a_record_is_read_once(store, finish, tmp_path, monkeypatch):
    finish(tmp_path / "a_study.py", cells=["a"])
    watch, reads = StudyWatch(store), []
    read = store.record
    monkeypatch.setattr(store, "record", lambda run: reads.append(run) or read(run))
    first, second = watch.look(), watch.look()
    assert first.of_state("done") == second.of_state("done")
    assert len(reads) == 6 + 4


def test_the_steps_are_those_of_another_run_of_the_cell(store, study, finish, tmp_path):
    finish(tmp_path / "a_study.py", cells=["b"], seeds=[0])
    run = run_of(study, "b", 1)
    write_log(store, run, {"step": 3, "seconds": 1.0})
    (progress,) = [each for each in StudyWatch(store).look().runs if each.identity == run.identity]
    assert progress.steps == 9


@pytest.mark.parametrize("spec", ["", "{}", "[]", '{"recipe": {"steps": "x"}}', '{"recipe": 1}'])
def test_a_spec_without_steps_is_of_no_use(store, study, spec):
    run = run_of(study, "a")
    write_log(store, run, {"step": 3, "seconds": "soon"})
    (store.folder(run.identity) / "spec.json").write_text(spec)
    progress = StudyWatch(store).look().runs[0]
    assert (progress.step, progress.steps, progress.seconds_left) == (3, None, None)


def test_a_damaged_record_is_named_until_it_is_complete(store, study, finish, tmp_path):
    finish(tmp_path / "a_study.py", cells=["a"], seeds=[0])
    path = store.folder(run_of(study, "a").identity) / "record.json"
    text = path.read_text()
    path.write_text(text[:100])
    watch = StudyWatch(store)
    run = watch.look().runs[0]
    assert run.state == "damaged"
    assert str(path) in run.message
    path.write_text(text)
    assert watch.look().runs[0].state == "done"


def test_cells_that_share_a_run_count_it_once(write_study, tmp_path):
    study = load_study(write_study("[cell('x', 'one'), cell('y', 'two')]", "(0,)"))
    store = ResultStore(tmp_path / "out")
    store.write_manifest(study.manifest())
    assert [run.label for run in StudyWatch(store).look().runs] == ["one/x seed 0"]


def test_only_the_chosen_cells_and_seeds_are_watched(store, finish, tmp_path):
    finish(tmp_path / "a_study.py", cells=["a"], seeds=[0])
    assert [run.label for run in StudyWatch(store, ["[ab]"], [1]).look().runs] == [
        "one/a seed 1", "one/b seed 1"
    ]  # fmt: skip
    assert StudyWatch(store, ["one/a"], [0]).look().is_over
    with pytest.raises(StudyError, match="no cell is 'x'"):
        StudyWatch(store, ["x"]).look()


def test_a_folder_without_a_study_is_an_error(tmp_path):
    with pytest.raises(StudyError, match=r"has no study\.json"):
        StudyWatch(ResultStore(tmp_path)).look()


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes in read-only folders")
def test_a_read_only_copy_can_be_watched(store, study):
    run = run_of(study, "a")
    with store.claim(run.identity):
        pass
    for folder in (store.root, store.root / "runs", store.folder(run.identity)):
        folder.chmod(0o555)
    assert StudyWatch(store).look().runs[0].state == "absent"
