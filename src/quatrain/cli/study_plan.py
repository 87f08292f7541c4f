"""`quatrain study plan`: the state of each run, the time left, and the expected precision."""

import gc
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from quatrain.cli.arguments import (
    AsJson,
    Budget,
    Cells,
    Data,
    Device,
    Out,
    Seeds,
    StudyFile,
    absolute,
    parse_budget,
    parse_seeds,
    results_folder,
)
from quatrain.cli.cluster_plan import print_submission_plan, submission_plan_document
from quatrain.cli.display import duration, hours_text
from quatrain.cli.engines import Place, RayOptions, SlurmOptions, check_options, cluster_of
from quatrain.cli.output import open_console, print_json, print_notes, print_rows
from quatrain.cli.start import leave_on_interrupt
from quatrain.report.text import visible
from quatrain.results import ResultStore, pluralize
from quatrain.results.snapshot import Snapshot
from quatrain.study import Run, Study, allocate, load_study
from quatrain.study.engines import MOST_WORKERS, Engine, SubmissionPlan, plan_submission
from quatrain.study.resources import Resources

if TYPE_CHECKING:
    from quatrain.study.estimate import PlannedRun, Trial
    from quatrain.study.precision import Precision

_LISTED = 20
"""Runs that a sentence names."""

Estimate = Annotated[
    bool,
    typer.Option(
        "--estimate/--no-estimate",
        "--probe/--no-probe",
        help="Train cells without a finished run for 10 seconds each, in one process.",
    ),
]
PlannedJobs = Annotated[
    int | None,
    typer.Option(
        help="Runs at once. Default: fill the cores; on a cluster the runs left, at most "
        f"{MOST_WORKERS}."
    ),
]
SpreadFrom = Annotated[
    Path | None,
    typer.Option(help="Results of a study whose spread over seeds is expected.", metavar="DIR"),
]


def plan(
    study: StudyFile,
    out: Out = None,
    cells: Cells = None,
    seeds: Seeds = None,
    data: Data = None,
    device: Device = "cpu",
    estimate: Estimate = False,
    spread_from: SpreadFrom = None,
    budget: Budget = None,
    jobs: PlannedJobs = None,
    on: Annotated[Place, typer.Option(help="This machine, Slurm or Ray.")] = Place.local,
    slurm: SlurmOptions = None,
    ray: RayOptions = None,
    as_json: AsJson = False,
) -> None:
    """Print the state of every run, an estimate of its hours, and the expected precision.

    Hours of training come from the records of finished runs of the same cell; --estimate
    computes them for the other cells. The precision of differences and their power come from the
    spread of the finished runs over seeds. With --budget it prints the order in which `study run`
    would start the runs, and the runs that it would leave out. With --on it prints the workers
    that `study submit` would submit, the hours of each cell, and on Slurm the time limit.

    Example: quatrain study plan studies/numerals_terms.py --estimate --budget 2h
    """
    from quatrain.study.estimate import plan_budget, plan_study
    from quatrain.study.precision import expected_precision

    check_options(on, slurm, ray)
    seconds, engine = parse_budget(budget), None if on == "local" else cluster_of(on, slurm, ray)
    folder, data = results_folder(study, out), data and absolute("--data", data)
    loaded = _load(study)
    runs = loaded.select(cells or None, parse_seeds(seeds))
    resources = _resources(runs, device, jobs, 1 if engine else None)
    trial = _trial(data, device, resources.threads) if estimate else None
    store, other = Snapshot(folder), _other_study(spread_from)
    with redirect_stdout(sys.stderr):
        rows = plan_study(loaded, store, runs, trial)
    at_once, submission = resources.jobs, None
    if engine:
        submission = plan_submission(loaded, store, runs, rows, jobs or MOST_WORKERS, device)
        at_once = max(1, submission.workers + submission.active)
    if seconds is not None:
        rows = plan_budget(loaded, store, runs, rows, seconds=seconds, jobs=at_once)
    print_notes(loaded, store, runs)
    if as_json:
        _print_document(rows, submission, engine)
        return
    _print_rows(rows, has_budget=seconds is not None)
    if engine and submission:
        print_submission_plan(open_console(), submission, engine)
    else:
        print(plan_summary([row.hours for row in rows if row.state != "done"], at_once))
    _print_gpu_hours(rows)
    if seconds is not None:
        print(budget_summary(rows, seconds))
    for group in expected_precision(loaded, runs, store, other):
        print(precision_summary(group, loaded.margin))


def _load(study: Path) -> Study:
    """The study of a file, whose modules and cells the garbage collector does not visit again.

    They live until the end of the command, and with many runs each visit takes a while.
    """
    with leave_on_interrupt():
        loaded = load_study(absolute("study file", study))
    gc.collect()
    gc.freeze()
    return loaded


def _resources(
    runs: Sequence[Run], device: str, jobs: int | None, threads: int | None
) -> Resources:
    processes = max(run.processes for run in runs)
    return allocate(len(runs), device, jobs=jobs, threads=threads, processes=processes)


def _other_study(folder: Path | None) -> ResultStore | None:
    """The results of another study; a wrong folder is an error before anything is printed."""
    if folder is None:
        return None
    store = ResultStore(absolute("--spread-from", folder))
    store.manifest()
    return store


def _gpu_hours(rows: Sequence["PlannedRun"]) -> float:
    return sum(row.gpu_hours or 0.0 for row in rows)


def _print_document(
    rows: Sequence["PlannedRun"], submission: SubmissionPlan | None, engine: Engine | None
) -> None:
    """Print the runs as JSON; with a submission, a document of both."""
    runs = [asdict(row) for row in rows]
    if submission is None or engine is None:
        print_json(runs)
    else:
        print_json({"runs": runs, "submission": submission_plan_document(submission, engine)})


def _print_gpu_hours(rows: Sequence["PlannedRun"]) -> None:
    hours = _gpu_hours(rows)
    if hours >= 1:
        from quatrain.cost.count import ASSUMED

        print(f"{hours:,.0f} GPU hours to do, not measured: arithmetic at {ASSUMED}.")


def _print_rows(rows: Sequence["PlannedRun"], *, has_budget: bool) -> None:
    """Print the table of runs."""
    columns = ["cells", "seed", "state", "steps", "hours", "source"]
    columns += ["gpu_hours"] if _gpu_hours(rows) >= 1 else []
    columns += ["start"] if has_budget else []
    print_rows(rows, columns, as_json=False)


def _trial(data: Path | None, device: str, threads: int) -> "Trial":
    """The settings of short trainings with the threads that a run will have."""
    import torch

    from quatrain.study.estimate import Trial
    from quatrain.training import train

    torch.set_num_threads(threads)
    return Trial(data=data, device=device, train=train)


def plan_summary(hours: list[float | None], jobs: int) -> str:
    """The number of runs to do, and the estimated time.

    '3 runs to do, about 30.0 min with 2 jobs for the 2 whose duration is known.'
    """
    known = [duration for duration in hours if duration is not None]
    text = f"{pluralize(len(hours), 'run')} to do"
    if not known:
        return (
            f"{text}." if not hours else f"{text}; add --estimate to estimate cells of one process."
        )
    hours_left = sum(known) / jobs
    about = f"about {hours_text(hours_left)} with {pluralize(jobs, 'job')}"
    rest = "" if len(known) == len(hours) else f" for the {len(known)} whose duration is known"
    return f"{text}, {about}{rest}."


def budget_summary(rows: Sequence["PlannedRun"], seconds: float) -> str:
    """The runs that a budget leaves out.

    'A budget of 2:00:00 allows 30 runs and leaves out 2: self/1111 seed 2, self/0111 seed 2.'
    """
    allowed = sum(row.start is not None for row in rows)
    left = [f"{visible(row.cells[0])} seed {row.seed}" for row in rows if row.left_out]
    text = f"A budget of {duration(seconds)} allows {pluralize(allowed, 'run')}"
    if left and all(row.hours is None for row in rows):
        return f"{text}, since their durations are unknown; add --estimate."
    more = f" and {len(left) - _LISTED:,} more" if len(left) > _LISTED else ""
    listed = f" and leaves out {len(left)}: {', '.join(left[:_LISTED])}{more}" if left else ""
    return f"{text}{listed}."


def precision_summary(expected: "Precision", margin: float | None) -> str:
    """How precisely a group will be known, in one line.

    'self, 17 cells x 3 seeds: differences to ± 0.36, main effects to ± 0.13 (residual sd 0.22).'
    """
    size = f"{expected.group}, {pluralize(expected.cells, 'cell')} x {expected.seeds} seeds"
    if expected.difference is None:
        return f"{size}: precision unknown until two cells have two finished seeds each."
    effects = expected.main_effect
    text = f"{size}: differences to ± {expected.difference:.2g}"
    text += f", main effects to ± {effects:.2g}" if effects is not None else ""
    if expected.cell_sd is None:
        text += f" (residual sd {expected.sd:.2g} with {expected.df} degrees of freedom)"
    else:
        least, largest = expected.cell_sd
        text += f" (sd of a cell {least:.2g} to {largest:.2g})"
    if margin is not None and expected.power_of_equivalence is not None:
        equivalence = 100 * expected.power_of_equivalence
        difference = 100 * (expected.power_of_difference or 0.0)
        text += (
            f"; power {difference:.0f} % for a difference of {margin:g}, {equivalence:.0f} % for "
            "the equivalence of equal cells"
        )
    return f"{text}."
