"""`quatrain study work`, `submit` and `cancel`: workers on other machines, which share a folder."""

import os
import platform
import shlex
import time
from collections.abc import Generator, Sequence
from contextlib import chdir, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from quatrain.cli.arguments import (
    AsJson,
    Budget,
    Cells,
    Data,
    Device,
    NumWorkers,
    Out,
    Retry,
    Seeds,
    StudyFile,
    Threads,
    absolute,
    parse_budget,
    parse_retry,
    parse_seeds,
    results_folder,
)
from quatrain.cli.display import duration
from quatrain.cli.engines import ClusterEngine, RayOptions, SlurmOptions, cluster_of
from quatrain.cli.observers import observe
from quatrain.cli.output import open_console, print_json, print_line, print_notes
from quatrain.cli.start import STATUS, leave_on_interrupt
from quatrain.cli.watch import Findings, follow
from quatrain.results import ResultStore, RunState, pluralize
from quatrain.results.snapshot import Snapshot
from quatrain.specs import StudyError
from quatrain.study import Event, Run, RunSummary, Selection, Study, load_study, run_study
from quatrain.study.engines import (
    LOGS,
    MOST_WORKERS,
    STOPPED,
    Engine,
    Job,
    JobState,
    JobStates,
    JobWatch,
    NoAnswerError,
    Ray,
    Submission,
    Workers,
    cancel_jobs,
    forget_job,
    local_cluster,
    state_text,
    stored_jobs,
)
from quatrain.study.engines import submit as submit_workers
from quatrain.study.engines.engine import PROGRAM
from quatrain.study.engines.restarts import RestartLimit
from quatrain.study.progress import StudyWatch
from quatrain.study.sessions import KILLED, earlier_failure

WorkerCount = Annotated[
    int | None,
    typer.Option(
        help=f"Runs at once, each by one worker. Default: the runs left, at most {MOST_WORKERS}."
    ),
]

WorkerThreads = Annotated[
    int, typer.Option(min=1, help="Threads, and CPUs, of each process of a run.")
]

_LOOK_SECONDS = 5.0
"""Seconds between two looks of `study run --on slurm` or `ray` at the folder."""

_JOB_SECONDS = 30.0
"""Seconds between two of its looks at the jobs."""

_LONGEST_LINE = 300


def work(
    study: StudyFile,
    out: Out = None,
    cells: Cells = None,
    seeds: Seeds = None,
    data: Data = None,
    device: Device = "cpu",
    threads: Threads = None,
    num_workers: NumWorkers = 0,
    budget: Budget = None,
) -> None:
    """Execute runs as one of several workers, until none is left that no other worker executes.

    Any launcher can start it, on machines that share the folder. The exit status is 0, also if runs
    failed, which the folder records; 2 if an error of the data or the disk prevented runs, or Slurm
    restarted it 20 times and no run advances; and 75 if a signal stopped it before the end: start
    it again then.

    Example: quatrain study work studies/probes.py --out runs/probes --device cuda:0
    """
    seconds = parse_budget(budget)
    folder = results_folder(study, out)
    study, data = absolute("study file", study), data and absolute("--data", data)
    selection = Selection(cells=cells or None, seeds=parse_seeds(seeds))
    loaded, runs = load_runs(study, selection)
    console = open_console()
    logs = folder / LOGS / f"{platform.node()}-{os.getpid()}"
    limit = RestartLimit(ResultStore(folder), runs)
    try:
        with observe(console, folder, len(runs), None, ()) as notify:
            summary = run_study(
                study,
                folder,
                study=loaded,
                data=data,
                jobs=1,
                threads=threads,
                num_workers=num_workers,
                device=device,
                select=selection,
                notify=notify,
                budget=seconds,
                wait=False,
                logs=logs,
            )
    except KeyboardInterrupt:
        limit.check()
        Console(stderr=True).print("Stopped; checkpoints are kept: start this worker again.")
        raise typer.Exit(STOPPED) from None
    if summary.external_failure is not None:
        print_line(Console(stderr=True), f"Error: {summary.external_failure.message}")
        raise typer.Exit(2)
    print_line(console, f"{pluralize(len(summary.done), 'run')} done by this worker.")


def submit(
    study: StudyFile,
    on: Annotated[ClusterEngine, typer.Option(help="The engine.")] = ClusterEngine.slurm,
    out: Out = None,
    cells: Cells = None,
    seeds: Seeds = None,
    data: Data = None,
    device: Device = "cpu",
    jobs: WorkerCount = None,
    threads: WorkerThreads = 1,
    num_workers: NumWorkers = 0,
    retry: Retry = None,
    slurm: SlurmOptions = None,
    ray: RayOptions = None,
    as_json: AsJson = False,
) -> None:
    """Submit workers to a cluster, and end; they execute the runs that are left.

    Workers of earlier submissions that are still active count. `quatrain study watch` shows the
    progress, `quatrain study cancel` cancels the jobs.

    Example: quatrain study submit studies/probes.py --out runs/probes --slurm partition=gpu
    """
    engine = cluster_of(on, slurm, ray)
    folder = results_folder(study, out)
    study = absolute("study file", study)
    selection = Selection(
        cells=cells or None, seeds=parse_seeds(seeds), retry_failed=parse_retry(retry)
    )
    loaded, runs = load_runs(study, selection)
    print_notes(loaded, Snapshot(folder), runs)
    workers = workers_of(study, folder, data, device, jobs, threads, num_workers)
    submission = submit_workers(loaded, workers, engine, selection)
    limit = engine.time_limit(submission.seconds)
    if not as_json:
        print_submission(open_console(), submission, folder, limit)
        return
    job = submission.job
    print_json(
        {
            "job": None if job is None else job.model_dump(exclude={"format"}),
            "time_limit_minutes": limit,
            "active": [_row(job, state) for job, state in submission.active],
            "runs_left": submission.left,
        }
    )


def cancel(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    as_json: AsJson = False,
) -> None:
    """Cancel the jobs that were submitted for a folder; the runs can be submitted again.

    Jobs of a cluster that cannot be reached are named; the exit status is 2 if one of them may be
    active.

    Example: quatrain study cancel runs/probes
    """
    store = ResultStore(absolute("folder", folder))
    store.manifest()  # a wrong folder is an error
    jobs = cancel_jobs(store)
    for job, error in jobs.unknown:
        print_line(Console(stderr=True), f"Not cancelled: {job.label}: {error}.")
    if as_json:
        print_json([_row(job, state) for job, state in jobs.active])
    else:
        _print_cancelled(open_console(), store, jobs)
    if jobs.errors(without_cluster=False):
        raise typer.Exit(2)


def _print_cancelled(console: Console, store: ResultStore, jobs: JobStates) -> None:
    for job, state in jobs.active:
        print_line(console, f"Cancelled {job.label} ({state_text(state)}).")
    if not jobs.active and not jobs.unknown:
        submitted = len(stored_jobs(store))
        why = f"{pluralize(submitted, 'job')} ended" if submitted else "none was submitted"
        print_line(console, f"No job is active: {why}.")


def load_runs(study: Path, selection: Selection) -> tuple[Study, Sequence[Run]]:
    """The study of a file, and its selected runs; the current folder stays."""
    with leave_on_interrupt(), chdir("."):
        loaded = load_study(study)
    return loaded, loaded.select(selection.cells, selection.seeds)


def workers_of(
    study: Path,
    folder: Path,
    data: Path | None,
    device: str,
    jobs: int | None,
    threads: int | None,
    num_workers: int,
) -> Workers:
    """The workers for options of the command line."""
    return Workers(
        study=study,
        out=folder,
        count=MOST_WORKERS if jobs is None else jobs,
        data=data and absolute("--data", data),
        device=device,
        threads=threads or 1,
        num_workers=num_workers,
        program=PROGRAM,
    )


def print_submission(
    console: Console, submission: Submission, folder: Path, limit: int | None
) -> None:
    """Print which workers were submitted with which limit in minutes, and which were active."""
    for job, state in submission.active:
        print_line(console, f"Active already: {job.label}: {state_text(state)}.")
    left = pluralize(submission.left, "run")
    if submission.job is None:
        why = "they share the runs" if submission.active else "nothing to do"
        print_line(console, f"No worker was submitted; {left} left: {why}.")
        return
    job = submission.job
    count, place = pluralize(job.workers, "worker"), f" at {job.address}" if job.address else ""
    time_limit = "" if limit is None else f", time limit {duration(60 * limit)} by finished runs"
    print_line(console, f"Submitted {job.label}{place}: {count} for {left}{time_limit}.")
    name = shlex.quote(str(folder))
    print_line(console, f"  quatrain study watch {name}     # progress")
    print_line(console, f"  quatrain study cancel {name}    # cancel the jobs")


def run_on_cluster(
    console: Console,
    study: Study,
    runs: Sequence[Run],
    workers: Workers,
    selection: Selection,
    engine: Engine,
) -> RunSummary:
    """Submit workers, and show the progress until the runs or the jobs have ended.

    Without a running Ray cluster, one of this machine is started, which ends with this function.
    """
    is_local = isinstance(engine, Ray) and not engine.has_cluster()
    after = "Stopped watching; the jobs continue, and `quatrain study cancel` cancels them."
    if is_local:
        after = "Stopped; checkpoints are kept: run the same command again to resume."
        print_line(console, "No Ray cluster runs: this command starts one on this machine.")
    try:
        with _local_ray(ResultStore(workers.out)) if is_local else nullcontext():
            return _run_until_ended(console, study, runs, workers, selection, engine)
    except KeyboardInterrupt:
        Console(stderr=True).print(after)
        raise typer.Exit(STATUS) from None


@contextmanager
def _local_ray(store: ResultStore) -> Generator[None]:
    """In the block a Ray cluster of this machine runs; its jobs are forgotten with it."""
    earlier = {job.name for job in stored_jobs(store)}
    try:
        with local_cluster():
            yield
    finally:
        for job in stored_jobs(store):
            if job.engine == Ray.name and job.name not in earlier:
                forget_job(store, job)


def _run_until_ended(
    console: Console,
    study: Study,
    runs: Sequence[Run],
    workers: Workers,
    selection: Selection,
    engine: Engine,
) -> RunSummary:
    store = ResultStore(workers.out)
    before = {run.identity for run in runs if store.state(run.identity) is RunState.DONE}
    advance = 0
    while True:
        submission = submit_workers(study, workers, engine, selection)
        limit = engine.time_limit(submission.seconds)
        print_submission(console, submission, workers.out, limit)
        last, advance = advance, _follow(console, store, selection)
        events = [_end_of(run, store, run.identity in before) for run in runs]
        is_cancelled = _is_cancelled(store, submission, engine)
        # Jobs can end too early for their runs, such as workers of an earlier submission.
        is_stuck = submission.job is not None and advance <= last
        if None not in events or is_cancelled or is_stuck:
            break
        selection = replace(selection, retry_failed=False)
    if None in events:
        left = pluralize(events.count(None), "run")
        why = "the job was cancelled" if is_cancelled else "no job is active"
        message = f"{left} left, and {why}; run the command again"
        raise StudyError(f"{message}{_last_output(workers.out / LOGS)}", "jobs")
    return RunSummary([event for event in events if event is not None])


def _follow(console: Console, store: ResultStore, selection: Selection) -> int:
    """Show the progress until the runs or all jobs have ended; return steps and ended runs."""
    jobs = JobWatch(store, _JOB_SECONDS)
    watch = StudyWatch(store, selection.cells, selection.seeds)
    end = follow(console, watch, Findings(store), _LOOK_SECONDS, jobs, lambda: jobs.has_ended)
    # A run whose worker was killed counts as failed, and another worker may resume it.
    is_killed = any(run.message.startswith(f"{KILLED}: ") for run in end.of_state("failed"))
    while is_killed and not jobs.has_ended:
        time.sleep(_LOOK_SECONDS)
        jobs.lines()
    return sum((run.step or 0) + (run.state in {"done", "failed"}) for run in end.runs)


def _is_cancelled(store: ResultStore, submission: Submission, engine: Engine) -> bool:
    """Whether a job that executed the runs was cancelled: in jobs.json, or by another program."""
    jobs = [job for job, _ in submission.active]
    jobs += [] if submission.job is None else [submission.job]
    names = {job.name for job in jobs}
    if any(job.cancelled for job in stored_jobs(store) if job.name in names):
        return True
    try:
        return bool(engine.cancelled([job.name for job in jobs if job.engine == engine.name]))
    except NoAnswerError:
        return False


def _end_of(run: Run, store: ResultStore, is_old: bool) -> Event | None:
    """The final event of a run; None if it has not ended."""
    if store.state(run.identity) is RunState.DONE:
        return run.event("skipped" if is_old else "done")
    return earlier_failure(run, store)


def _last_output(logs: Path) -> str:
    """The last line of the latest output of a worker: ' (logs/slurm-1_0.out ends in: ...)'."""
    try:
        latest = max(logs.glob("*.out"), key=lambda path: path.stat().st_mtime)
        lines = latest.read_text(errors="replace").split("\n")
    except (OSError, ValueError):
        return f" (logs are in {logs})"
    text = next((line for line in reversed(lines) if line.strip()), "")
    return f" ({latest} ends in: {text[-_LONGEST_LINE:].strip()})"


def _row(job: Job, state: JobState) -> dict[str, Any]:
    return {**job.model_dump(exclude={"format"}), **asdict(state)}
