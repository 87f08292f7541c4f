from dataclasses import replace

import pytest

from quatrain.results import Failure, RunState
from quatrain.specs import StudyError
from quatrain.study import Selection, load_study
from quatrain.study.engines import NoAnswerError, stored_jobs, submit

CELLS = "[cell('a'), cell('b', weight=2), cell('c', weight=3)]"


def test_no_more_workers_are_submitted_than_runs_are_left(write_study, finish, engine, workers):
    path = write_study(CELLS)
    store = finish(path, ["a"])
    submission = submit(load_study(path), workers, engine)
    assert (submission.left, submission.active) == (4, [])
    assert engine.workers == replace(workers, count=4)
    (job,) = stored_jobs(store)
    assert job == submission.job
    assert (job.engine, job.id, job.workers, job.address) == ("fake", "1", 4, "here")
    assert job.name.startswith("quatrain-a_study-")
    assert submit(load_study(path), replace(workers, count=2), engine).job is None


def test_active_workers_count(write_study, engine, workers):
    path = write_study(CELLS)
    first = submit(load_study(path), replace(workers, count=2), engine)
    assert submit(load_study(path), replace(workers, count=2), engine).job is None
    second = submit(load_study(path), workers, engine)
    assert (first.job.workers, second.job.workers) == (2, 4)
    assert [job.id for job, _ in second.active] == ["1"]
    assert submit(load_study(path), workers, engine).job is None
    engine.active.clear()
    assert submit(load_study(path), workers, engine).job.workers == 6


def test_active_workers_of_other_runs_do_not_count(write_study, engine, store, workers):
    path = write_study(CELLS)

    def new_workers(**selection):
        job = submit(
            load_study(path), replace(workers, count=2), engine, Selection(**selection)
        ).job
        return 0 if job is None else job.workers

    assert [new_workers(cells=["a"]), new_workers(cells=["a"])] == [2, 0]
    assert [new_workers(), new_workers(cells=["b"])] == [2, 0]
    assert new_workers(cells=["b"], seeds=[7]) == 1
    assert [job.cells for job in stored_jobs(store)] == [("a",), (), ("b",)]
    path.write_text(path.read_text().replace("cell('a'), ", ""))
    assert new_workers() == 0


def test_a_manifest_is_written_and_workers_get_the_selection(write_study, engine, store, workers):
    path = write_study(CELLS)
    submit(load_study(path), workers, engine, Selection(cells=["b"], seeds=[7]))
    assert (engine.workers.count, engine.workers.cells, engine.workers.seeds) == (1, ("b",), (7,))
    cells = {cell.name: sorted(cell.identities) for cell in store.manifest().cells}
    assert 7 in cells["b"]


def test_failed_runs_are_left_on_request_only(write_study, engine, store, workers):
    path = write_study("[cell('a')]", "(0,)")
    (run,) = load_study(path).select()
    failure = Failure(reason="error", message="no", traceback="", step=0)
    store.write_failure(run.identity, failure)
    assert submit(load_study(path), workers, engine).left == 0
    again = submit(load_study(path), workers, engine, Selection(retry_failed=True))
    assert again.job.workers == 1
    assert store.state(run.identity) is RunState.ABSENT


def test_a_refused_job_is_forgotten_and_one_that_may_exist_is_not(
    write_study, engine, store, workers
):
    study = load_study(write_study(CELLS))
    engine.error = StudyError("no", "--slurm")
    with pytest.raises(StudyError):
        submit(study, workers, engine)
    assert stored_jobs(store) == ()
    engine.error = NoAnswerError("no answer", "slurm")
    with pytest.raises(NoAnswerError):
        submit(study, workers, engine)
    (job,) = stored_jobs(store)
    assert job.id is None


def test_at_least_one_worker_is_submitted(write_study, engine, store, workers):
    with pytest.raises(StudyError, match="jobs=0 is below 1"):
        submit(load_study(write_study(CELLS)), replace(workers, count=0), engine)
    assert not store.root.exists()


def test_runs_of_changed_code_are_refused_before_any_job_is_stored(
    write_study, finish, engine, workers
):
    path = write_study("[cell('a')]", "(0,)")
    finish(path)
    path.write_text(path.read_text().replace("float(objective)", "float(objective) + 1"))
    with pytest.raises(StudyError):
        submit(load_study(path), workers, engine)
    assert not (workers.out / "jobs.json").exists()


RECIPE = """
class Recipe(Spec):
    processes: int = 1

class TrainingSpec(FakeSpec):
    recipe: Recipe = Recipe()

"""


def test_workers_get_the_processes_of_the_runs_that_are_left(write_study, finish, engine, workers):
    spec = "TrainingSpec(recipe=Recipe(processes=3))"
    path = write_study(f"[cell('a'), Cell(name='b', group='one', spec={spec})]")
    path.write_text(path.read_text().replace("study = ", f"{RECIPE}study = "))
    submit(load_study(path), workers, engine, Selection(cells=["a"]))
    assert engine.workers.processes == 1
    engine.active.clear()
    submit(load_study(path), workers, engine)
    assert engine.workers.processes == 3
    engine.active.clear()
    finish(path, ["b"])
    submit(load_study(path), workers, engine)
    assert engine.workers.processes == 1
