"""`quatrain study`: new, plan, run, watch, status and measure.

The command line selects cells, and the resources of their runs. The study file alone defines the
hyper-parameters of a cell.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from contextlib import chdir, redirect_stdout
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperCommand

from quatrain.cli.arguments import Cells, Seeds, absolute, parse_seeds, results_folder
from quatrain.cli.observers import observe
from quatrain.cli.output import (
    measurement_summary,
    open_console,
    print_json,
    print_line,
    print_rows,
)
from quatrain.cli.report import print_report
from quatrain.cli.start import STATUS, leave_on_interrupt
from quatrain.cli.watch import watch
from quatrain.report.build import load_report
from quatrain.report.text import visible
from quatrain.results import ResultStore, pluralize
from quatrain.specs import StudyError
from quatrain.specs.errors import shorten
from quatrain.study import Run, RunSummary, Selection, Study, allocate, load_study, run_study
from quatrain.study.sinks import SINKS
from quatrain.study.templates import TEMPLATES, write_template

if TYPE_CHECKING:
    from quatrain.study.estimate import Trial
    from quatrain.study.precision import Precision

app: typer.Typer = typer.Typer(
    no_args_is_help=True, help="Write, plan, run, watch and measure a study."
)

StudyFile = Annotated[Path, typer.Argument(help="The study file, a Python file.", metavar="STUDY")]
Out = Annotated[
    Path | None,
    typer.Option(help="The folder of results; by default runs/NAME for a study file NAME.py."),
]
SpreadFrom = Annotated[
    Path | None,
    typer.Option(help="Results of a study whose spread over seeds is expected.", metavar="DIR"),
]
Data = Annotated[Path | None, typer.Option(help="The folder of data, for studies that read one.")]
Device = Annotated[str, typer.Option(help="The device, such as cpu or cuda:0.")]
Jobs = Annotated[int | None, typer.Option(help="Runs at once. Default: fill the cores.")]
Threads = Annotated[int | None, typer.Option(help="Threads of each run. Default: fill the cores.")]
NumWorkers = Annotated[
    int, typer.Option(min=0, help="Processes of each run that prepare its batches.")
]
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
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


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


@app.command()
def plan(
    study: StudyFile,
    out: Out = None,
    cells: Cells = None,
    seeds: Seeds = None,
    data: Data = None,
    device: Device = "cpu",
    estimate: Annotated[
        bool,
        typer.Option(
            "--estimate/--no-estimate",
            "--probe/--no-probe",
            help="Train cells without a finished run for 10 seconds each.",
        ),
    ] = False,
    spread_from: SpreadFrom = None,
    as_json: AsJson = False,
) -> None:
    """Print the state of every run, an estimate of its hours, and the expected precision.

    Hours of training come from the records of finished runs of the same cell; --estimate
    computes them for the other cells. The precision of differences and their power come from the
    spread of the finished runs over seeds.

    Example: quatrain study plan studies/numerals_terms.py --estimate
    """
    from quatrain.study.estimate import plan_study
    from quatrain.study.precision import expected_precision

    folder = results_folder(study, out)
    data = data and absolute("--data", data)
    with leave_on_interrupt():
        loaded = load_study(absolute("study file", study))
    runs = loaded.select(cells or None, parse_seeds(seeds))
    other = None if spread_from is None else ResultStore(absolute("--spread-from", spread_from))
    if other is not None:
        other.manifest()  # a wrong folder is an error before anything is printed
    trial = _trial(data, device, len(runs)) if estimate else None
    store = ResultStore(folder)
    with redirect_stdout(sys.stderr):
        rows = plan_study(loaded, store, runs, trial)
    print_notes(loaded, store, runs)
    columns = ["cells", "seed", "state", "steps", "hours", "source"]
    gpu_hours = sum(row.gpu_hours or 0.0 for row in rows)
    if gpu_hours >= 1:
        columns.append("gpu_hours")
    print_rows(rows, columns, as_json=as_json)
    if as_json:
        return
    jobs = allocate(len(runs), device).jobs
    print(plan_summary([row.hours for row in rows if row.state != "done"], jobs))
    if gpu_hours >= 1:
        from quatrain.cost.count import ASSUMED

        print(f"{gpu_hours:,.0f} GPU hours in all, not measured: arithmetic at {ASSUMED}.")
    for group in expected_precision(loaded, runs, store, other):
        print(precision_summary(group, loaded.margin))


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
    retry: Annotated[
        str | None, typer.Option(help='"failed": run failed runs again.', metavar="failed")
    ] = None,
    live: Live = False,
    port: Port = 0,
    log_to: LogTo = None,
) -> None:
    """Execute the runs that are not done yet, then report.

    It can be interrupted and started again: done runs are skipped, paused runs resume. The exit
    status is 1 if a run failed, and 2 if an error of the data or the disk prevented runs.

    Example: quatrain study run studies/numerals_terms.py --cells "encoder-decoder/*"
    """
    if retry not in {None, "failed"}:
        raise StudyError(f"--retry {shorten(retry)} is unknown; write --retry failed", "--retry")
    selection = Selection(
        cells=cells or None, seeds=parse_seeds(seeds), retry_failed=retry == "failed"
    )
    folder = results_folder(study, out)
    study, data = absolute("study file", study), data and absolute("--data", data)
    with leave_on_interrupt(), chdir("."):
        loaded = load_study(study)
    runs = loaded.select(selection.cells, selection.seeds)
    print_notes(loaded, ResultStore(folder), runs)
    console = open_console()
    try:
        with observe(console, folder, len(runs), _page_port(live, port), log_to or ()) as notify:
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
            )
    except KeyboardInterrupt:
        resume = "Stopped; checkpoints are kept: run the same command again to resume."
        Console(stderr=True).print(resume)
        raise typer.Exit(STATUS) from None
    _conclude(console, folder, summary)


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

    rows = study_status(ResultStore(absolute("folder", folder)))
    columns = ["group", "cell", "seed", "state", "step", "reason", "message"]
    print_rows(rows, columns, as_json=as_json)
    if not as_json:
        counts = Counter(row.state for row in rows)
        print(", ".join(f"{count} {state}" for state, count in counts.items()))
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


def _page_port(live: bool, port: int) -> int | None:
    """The port of a local page; None for no page."""
    if port and not live:
        raise StudyError("--port is the port of a local page; add --live", "--port")
    return port if live else None


def _trial(data: Path | None, device: str, runs: int) -> "Trial":
    """The settings of short trainings with the threads that a run will have."""
    import torch

    from quatrain.study.estimate import Trial
    from quatrain.training import train

    torch.set_num_threads(allocate(runs, device).threads)
    return Trial(data=data, device=device, train=train)


def plan_summary(hours: list[float | None], jobs: int) -> str:
    """The number of runs to do, and the estimated time.

    '3 runs to do, about 30.0 min with 2 jobs for the 2 whose duration is known.'
    """
    known = [duration for duration in hours if duration is not None]
    text = f"{pluralize(len(hours), 'run')} to do"
    if not known:
        return f"{text}." if not hours else f"{text}; add --estimate to estimate the time."
    hours_left = sum(known) / jobs
    time_left = f"{hours_left:.1f} h" if hours_left >= 1 else f"{60 * hours_left:.1f} min"
    about = f"about {time_left} with {pluralize(jobs, 'job')}"
    rest = "" if len(known) == len(hours) else f" for the {len(known)} whose duration is known"
    return f"{text}, {about}{rest}."


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
    text += f" (residual sd {expected.sd:.2g} with {expected.df} degrees of freedom)"
    if margin is not None and expected.power_of_equivalence is not None:
        equivalence = 100 * expected.power_of_equivalence
        difference = 100 * (expected.power_of_difference or 0.0)
        text += (
            f"; power {difference:.0f} % for a difference of {margin:g}, {equivalence:.0f} % for "
            "the equivalence of equal cells"
        )
    return f"{text}."


def print_notes(study: Study, store: ResultStore, runs: Sequence[Run]) -> None:
    """Print the notes on `runs` to stderr."""
    from quatrain.study.changes import notes_on

    console = Console(stderr=True)
    for note in notes_on(study, store, runs):
        print_line(console, f"Note: {note}")


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
    if summary.failed:
        for event in summary.failed:
            print_line(console, f"Failed: {event.label}: {event.reason}: {event.message}")
        raise typer.Exit(1)
