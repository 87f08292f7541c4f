"""`quatrain study`: new, plan, run, work, submit, cancel, watch, status and measure.

The command line selects cells, and the resources of their runs. The study file alone defines the
hyper-parameters of a cell.
"""

import sys
from collections import Counter
from collections.abc import Generator, Sequence
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from quatrain.cli.arguments import (
    AsJson,
    Budget,
    Cells,
    Data,
    Device,
    Jobs,
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
from quatrain.cli.cluster import (
    cancel,
    load_runs,
    run_on_cluster,
    submit,
    work,
    workers_of,
)
from quatrain.cli.display import duration
from quatrain.cli.engines import Place, RayOptions, SlurmOptions, check_options, cluster_of
from quatrain.cli.observers import observe
from quatrain.cli.output import (
    measurement_summary,
    open_console,
    print_json,
    print_line,
    print_notes,
    print_rows,
)
from quatrain.cli.report import print_report
from quatrain.cli.start import STATUS, leave_on_interrupt
from quatrain.cli.study_plan import plan
from quatrain.cli.watch import watch
from quatrain.report.build import load_report
from quatrain.report.text import visible
from quatrain.results import ResultStore, pluralize
from quatrain.results.snapshot import Snapshot
from quatrain.specs import StudyError
from quatrain.study import LeftOut, RunSummary, Selection, load_study, run_study
from quatrain.study.engines import JobWatch
from quatrain.study.sinks import SINKS
from quatrain.study.templates import TEMPLATES, write_template

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Write, plan, run, watch and measure a study."
)

Live = Annotated[
    bool, typer.Option("--live", help="Show the report as a local web page that updates itself.")
]
Port = Annotated[
    int, typer.Option(min=0, max=65535, help="The port of --live. Default: a free one.")
]
LogTo = Annotated[
    list[str] | None,
    typer.Option(
        help=f"{' or '.join(SINKS)}: write the logged numbers there, too; can be repeated.",
        metavar="NAME",
    ),
]

_RENAMED_OPTIONS = {"--workers": "--jobs", "--readers": "--num-workers"}


class RenamedOptions(TyperCommand):
    """A command that accepts old spellings of its options for one release, with a note."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments with each old option replaced by the new one."""
        return super().parse_args(ctx, list(map(_renamed, args)))


def _renamed(argument: str) -> str:
    option, equals, value = argument.partition("=")
    new = _RENAMED_OPTIONS.get(option)
    if new is None:
        return argument
    sys.stderr.write(f"Note: {option} is deprecated; use {new}.\n")
    return f"{new}{equals}{value}"


@app.command()
def new(
    template: Annotated[str, typer.Argument(help=f"One of {', '.join(TEMPLATES)}.")],
    path: Annotated[
        Path | None, typer.Argument(help="A file or a folder; by default the current folder.")
    ] = None,
) -> None:
    """Write a study file to start from, and print the next commands.

    coco, voc, folders, cityscapes and parallel-text read your data; the others need none.

    Example: quatrain study new own-network my_study.py
    """
    file = write_template(template, path)
    data = " --data DIR" if TEMPLATES[template].needs_data else ""
    console = open_console()
    for line in (
        f"Wrote {file}. Next:",
        f"  quatrain study plan {file}{data}    # list the runs; --estimate: and their time",
        f"  quatrain study run {file}{data}     # train, evaluate and report; can be interrupted",
    ):
        print_line(console, line)


@app.command(cls=RenamedOptions)
def run(
    study: StudyFile,
    out: Out = None,
    cells: Cells = None,
    seeds: Seeds = None,
    data: Data = None,
    device: Device = "cpu",
    jobs: Jobs = None,
    threads: Threads = None,
    num_workers: NumWorkers = 0,
    budget: Budget = None,
    retry: Retry = None,
    live: Live = False,
    port: Port = 0,
    log_to: LogTo = None,
    on: Annotated[
        Place, typer.Option(help="This machine, or a cluster, where --jobs workers run.")
    ] = Place.local,
    slurm: SlurmOptions = None,
    ray: RayOptions = None,
) -> None:
    """Execute the runs that are not done yet, then report.

    It can be interrupted and started again: done runs are skipped, paused runs resume. The exit
    status is 1 if a run failed, and 2 if an error of the data or the disk prevented runs. With
    --budget it ends in time, with the runs that tell most about the comparisons.

    Example: quatrain study run studies/numerals_terms.py --cells "encoder-decoder/*" --budget 2h
    """
    selection = Selection(
        cells=cells or None, seeds=parse_seeds(seeds), retry_failed=parse_retry(retry)
    )
    seconds = parse_budget(budget)
    _check_place(on, slurm, ray, live, log_to, budget)
    folder, page = results_folder(study, out), _page_port(live, port)
    study, data = absolute("study file", study), data and absolute("--data", data)
    loaded, runs = load_runs(study, selection)
    print_notes(loaded, Snapshot(folder), runs)
    console = open_console()
    if on is not Place.local:
        workers = workers_of(study, folder, data, device, jobs, threads, num_workers)
        end = run_on_cluster(console, loaded, runs, workers, selection, cluster_of(on, slurm, ray))
        _conclude(console, folder, end)
        return
    observed = observe(console, folder, len(runs), page, log_to or ())
    with _resume_after_interrupt(), observed as notify:
        summary = run_study(
            study,
            folder,
            study=loaded,
            data=data,
            jobs=jobs,
            threads=threads,
            num_workers=num_workers,
            device=device,
            select=selection,
            notify=notify,
            budget=seconds,
        )
    _conclude(console, folder, summary)


app.command()(plan)
app.command()(work)
app.command()(submit)
app.command()(cancel)
app.command()(watch)


@app.command()
def status(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    as_json: AsJson = False,
) -> None:
    """Print the state of each run; the exit status is 1 if a run failed.

    Example: quatrain study status runs/numerals_terms
    """
    from quatrain.study.status import study_status

    store = ResultStore(absolute("folder", folder))
    rows = study_status(store)
    columns = ["group", "cell", "seed", "state", "step", "reason", "message"]
    print_rows(rows, columns, as_json=as_json)
    if not as_json:
        counts = Counter(row.state for row in rows)
        print(", ".join(f"{count} {state}" for state, count in counts.items()))
        for line in JobWatch(store).lines():
            print(visible(line))
    raise typer.Exit(1 if any(row.state == "failed" for row in rows) else 0)


@app.command()
def measure(
    study: StudyFile,
    out: Out = None,
    cells: Cells = None,
    data: Data = None,
    device: Device = "cpu",
    threads: Annotated[int, typer.Option(min=1, help="Threads of each measurement.")] = 1,
    busy: Annotated[bool, typer.Option(help="Measure also on a busy machine.")] = False,
    count_only: Annotated[
        bool, typer.Option("--count-only", help="Count costs, and measure neither time nor memory.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Measure latency and peak memory of finished cells, one at a time.

    Latency is the median of one forward pass, memory its peak above model and inputs. Costs that a
    record lacks are counted too: older ones have no multiply-adds by the paper's convention.

    Example: quatrain study measure studies/numerals_terms.py
    """
    from quatrain.study.measure import MeasurementSetup, check_idle, measurable, measure_run

    if not busy and not count_only:
        check_idle()
    store = ResultStore(results_folder(study, out))
    study, data = absolute("study file", study), data and absolute("--data", data)
    setup = MeasurementSetup(
        study=study, store=store, data=data, device=device, threads=threads, count_only=count_only
    )
    rows = []
    with leave_on_interrupt():
        loaded = load_study(study)
    for run in measurable(loaded.select(cells or None), store):
        with redirect_stdout(sys.stderr):
            result = measure_run(run, setup)
        rows.append({"cells": run.labels, "seed": run.seed, **result.model_dump()})
        if not as_json:
            print(f"{visible(run.labels[0])}: {measurement_summary(result)}")
    if as_json:
        print_json(rows)
    elif not rows:
        print("No cell has a finished run yet.")


@contextmanager
def _resume_after_interrupt() -> Generator[None]:
    """After Ctrl-C in the block, print how to resume, and exit."""
    try:
        yield
    except KeyboardInterrupt:
        resume = "Stopped; checkpoints are kept: run the same command again to resume."
        Console(stderr=True).print(resume)
        raise typer.Exit(STATUS) from None


def _check_place(
    place: Place,
    slurm: list[str] | None,
    ray: list[str] | None,
    live: bool,
    log_to: list[str] | None,
    budget: str | None,
) -> None:
    """Check that options fit the machine that executes the runs."""
    check_options(place, slurm, ray)
    if place is not Place.local and (live or log_to):
        option = "--live" if live else "--log-to"
        message = f"{option} shows runs of this machine only; use `quatrain study watch`, or --on"
        raise StudyError(message + " local", option)
    if place is not Place.local and budget:
        message = "--budget is the time of runs on this machine; "
        slurm_limit = "use the time limit of the cluster, such as --slurm time=2:00:00"
        remedy = slurm_limit if place is Place.slurm else "leave it out, or use --on local"
        raise StudyError(message + remedy, "--budget")


def _page_port(live: bool, port: int) -> int | None:
    """The port of a local page; None for no page."""
    if port and not live:
        raise StudyError("--port is the port of a local page; add --live", "--port")
    return port if live else None


def left_out_summary(runs: Sequence[LeftOut]) -> str:
    """How many runs were not started, and how long the shortest takes.

    '3 runs left out, which would not have ended in time; the shortest takes about 40:00.'
    """
    text = f"{pluralize(len(runs), 'run')} left out, which would not have ended in time"
    known = [run.seconds for run in runs if run.seconds is not None]
    if not known:
        return f"{text}."
    which = "it takes" if len(runs) == 1 else "the shortest takes"
    return f"{text}; {which} about {duration(min(known))}."


def _conclude(console: Console, folder: Path, summary: RunSummary) -> None:
    """Print the report, and exit with the status."""
    from quatrain.report.write import write_report

    if summary.external_failure is not None:
        print_line(Console(stderr=True), f"Error: {summary.external_failure.message}")
        raise typer.Exit(2)
    report = load_report(ResultStore(folder))
    page = write_report(report, folder / "report")
    print_report(console, report)
    done, skipped, failed = len(summary.done), len(summary.skipped), len(summary.failed)
    console.print(f"{done} done now, {skipped} before, {failed} failed.", highlight=False)
    print_line(console, f"Report: {page}")
    if summary.left_out:
        print_line(console, left_out_summary(summary.left_out))
    if summary.failed:
        for event in summary.failed:
            print_line(console, f"Failed: {event.label}: {event.reason}: {event.message}")
        raise typer.Exit(1)
