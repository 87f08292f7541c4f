"""`quatrain study watch`: the progress of a study that another process or machine executes."""

import math
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from quatrain.cli.arguments import Cells, Seeds, absolute, parse_seeds
from quatrain.cli.display import duration
from quatrain.cli.output import open_console, print_json, print_line
from quatrain.cli.start import STATUS
from quatrain.report.build import load_report
from quatrain.report.sentences import MARKS
from quatrain.report.text import format_fixed, title_of, visible
from quatrain.results import ResultStore, pluralize
from quatrain.results.snapshot import Snapshot
from quatrain.specs import QuatrainError, StudyError
from quatrain.study.engines import JobWatch
from quatrain.study.progress import RunProgress, StudyProgress, StudyWatch

MOST_LINES = 12
"""Sentences, and failed runs, of a frame."""

_LINE_SECONDS = 15.0
"""Seconds between two lines about the same running run where there is no terminal."""
_SHARE = 10
"""Sentences are computed in at most one part in so many of the time."""
_STATES = ("done", "running", "failed", "paused", "absent", "damaged")
_TROUBLES = ("failed", "damaged")
_WORDS = {"absent": "waiting"}


def watch(
    folder: Annotated[Path, typer.Argument(help="The folder of results.", metavar="DIR")],
    cells: Cells = None,
    seeds: Seeds = None,
    every: Annotated[
        float, typer.Option(min=0.1, max=86_400, help="Seconds between two looks at the folder.")
    ] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Print the present state and end.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --once: print JSON.")] = False,
) -> None:
    """Watch a study that another process or machine executes, until all its runs have ended.

    Shows which run is at which step, the time left, and what the finished runs say. The exit
    status is 1 if a run failed.

    Example: quatrain study watch runs/numerals_terms
    """
    if as_json and not once:
        raise StudyError("--json prints one state; add --once", "--json")
    store = Snapshot(absolute("folder", folder))
    looks, findings = StudyWatch(store, cells or None, parse_seeds(seeds)), Findings(store)
    jobs = JobWatch(store)
    console = open_console()
    if once:
        progress = looks.look()
        sentences = findings.of(progress)
        if as_json:
            runs = [asdict(run) for run in progress.runs]
            totals = {"counts": progress.counts, "seconds_left": progress.seconds_left}
            title = {"title": progress.title, "metric": progress.metric}
            texts = {"sentences": sentences, "jobs": jobs.lines()}
            print_json({**title, **totals, "runs": runs, **texts})
        else:
            for line in (*frame_lines(progress, sentences), *jobs.lines()):
                print_line(console, line)
        raise typer.Exit(1 if progress.of_state("failed") else 0)
    try:
        progress = follow(console, looks, findings, every, jobs)
    except KeyboardInterrupt:
        sys.stderr.write("Stopped watching; the study is not affected.\n")
        raise typer.Exit(STATUS) from None
    print_line(console, f"All runs have ended. Report: quatrain report {folder}")
    raise typer.Exit(1 if progress.of_state("failed") else 0)


class Findings:
    """The sentences of the report, computed again when a run has finished.

    They wait if computing them would take more than one part in ten of the time.
    """

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._done: set[str] = set()
        self._sentences: list[str] = []
        self._due = -math.inf

    def of(self, progress: StudyProgress) -> list[str]:
        """The sentences that the finished runs allow, or allowed when they were last computed."""
        done = {run.identity for run in progress.of_state("done")}
        start = time.monotonic()
        if done != self._done and (start >= self._due or progress.is_over):
            self._done, self._sentences = done, self._compute()
            end = time.monotonic()
            self._due = end + _SHARE * (end - start)
        return self._sentences

    def _compute(self) -> list[str]:
        try:
            sentences = load_report(self._store).sentences
        except QuatrainError as error:
            return [f"No report: {error}"]
        return [
            f"{MARKS[sentence.mark]} {sentence.group}: {sentence.text}"
            for sentence in sentences
            if sentence.word != "not run"
        ]


def summary_line(progress: StudyProgress) -> str:
    """The numbers of runs by state, and the time left.

    'Terms: 12 of 48 runs done, 2 running, 34 waiting; about 1:12:00 left'
    """
    counts = progress.counts
    parts = [f"{counts.get('done', 0)} of {pluralize(len(progress.runs), 'run')} done"]
    parts += [f"{counts[x]} {_WORDS.get(x, x)}" for x in _STATES[1:] if counts.get(x)]
    return f"{progress.title}: {', '.join(parts)}{_ending(progress)}"


def run_line(run: RunProgress) -> str:
    """Step and time left of a run: 'self/1111 seed 0: step 400/1000  3:12 left'."""
    return f"{run.label}: {_numbers(run)}"


def end_line(run: RunProgress, progress: StudyProgress) -> str:
    """A run that has ended, with its metric or the reason of its failure.

    '13/48 done: self/1111 seed 2 (BLEU 31.40); about 1:10:00 left'
    """
    ended = sum(progress.counts.get(state, 0) for state in ("done", "failed"))
    detail = f" ({run.message})" if run.message else ""
    if run.metric is not None:
        detail = f" ({title_of(progress.metric)} {format_fixed(run.metric, 2)})"
    return f"{ended}/{len(progress.runs)} {run.state}: {run.label}{detail}{_ending(progress)}"


def frame_lines(progress: StudyProgress, sentences: Sequence[str]) -> list[str]:
    """All that is known, as lines of text."""
    return [
        summary_line(progress),
        *(run_line(run) for run in progress.of_state("running")),
        *_troubles(progress),
        *_first(sentences),
    ]


def _numbers(run: RunProgress) -> str:
    if run.step is None:
        return "starting"
    total = f"/{run.steps}" if run.steps else ""
    if run.step == run.steps:
        return f"step {run.step}{total}  evaluating"
    left = "" if run.seconds_left is None else f"  {duration(run.seconds_left)} left"
    return f"step {run.step}{total}{left}"


def _ending(progress: StudyProgress) -> str:
    left = progress.seconds_left
    return "" if left is None or progress.is_over else f"; about {duration(left)} left"


def _troubles(progress: StudyProgress) -> list[str]:
    troubled = [run for state in _TROUBLES for run in progress.of_state(state)]
    return _first([f"{run.state}: {run.label} ({run.message})" for run in troubled])


def _first(lines: Sequence[str]) -> list[str]:
    """The first lines, and how many more there are."""
    more = len(lines) - MOST_LINES
    return [*lines[:MOST_LINES], *([f"... and {more} more"] if more > 0 else [])]


def follow(
    console: Console,
    looks: StudyWatch,
    findings: Findings,
    every: float,
    jobs: JobWatch,
    stop: Callable[[], bool] = lambda: False,
) -> StudyProgress:
    """Show one look after the other until all runs have ended, or `stop`; return the last."""
    lines = Lines(console)
    # Without a terminal, a `Live` would print its last frame once more.
    live = Live(console=console, auto_refresh=False) if console.is_interactive else None
    with live or nullcontext():
        while True:
            progress = looks.look()
            sentences, job_lines = findings.of(progress), jobs.lines()
            if live is None:
                lines.show(progress, sentences, job_lines)
            else:
                live.update(frame(progress, sentences, job_lines), refresh=True)
            if progress.is_over or stop():
                return progress
            time.sleep(every)


def frame(
    progress: StudyProgress, sentences: Sequence[str], job_lines: Sequence[str] = ()
) -> Group:
    """All that is known, with bars, for a terminal."""
    running = Table.grid(padding=(0, 2))
    for run in progress.of_state("running"):
        bar = ProgressBar(total=run.steps or 1, completed=run.step or 0, width=24)
        running.add_row(Text(visible(run.label), overflow="fold"), bar, Text(_numbers(run)))
    done = progress.counts.get("done", 0)
    bar = ProgressBar(total=max(1, len(progress.runs)), completed=done, width=48)
    texts = (*_first(job_lines), *_troubles(progress), *_first(sentences))
    rest = [Text(visible(line)) for line in texts]
    return Group(Text(visible(summary_line(progress)), style="bold"), bar, running, *rest)


class Lines:
    """Prints what has changed since the last look, one line for each change."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, str] = {}
        self._times: dict[str, float] = {}
        """By running run, the time of its last line."""
        self._sentences: Sequence[str] = ()
        self._job_lines: Sequence[str] = ()

    def show(
        self,
        progress: StudyProgress,
        sentences: Sequence[str],
        job_lines: Sequence[str] = (),
    ) -> None:
        """Print the changes."""
        if not self._states:
            print_line(self._console, summary_line(progress))
        for run in progress.runs:
            self._show_run(run, progress)
        new = [sentence for sentence in sentences if sentence not in self._sentences]
        new_jobs = [line for line in job_lines if line not in self._job_lines]
        for line in (*_first(new_jobs), *_first(new)):
            print_line(self._console, line)
        self._states = {run.identity: run.state for run in progress.runs}
        self._sentences, self._job_lines = sentences, job_lines

    def _show_run(self, run: RunProgress, progress: StudyProgress) -> None:
        now = time.monotonic()
        if run.state == "running":
            if now - self._times.get(run.identity, -_LINE_SECONDS) >= _LINE_SECONDS:
                self._times[run.identity] = now
                print_line(self._console, run_line(run))
            return
        is_new = self._states.get(run.identity) != run.state
        if is_new and (self._states or run.state in _TROUBLES):
            print_line(self._console, end_line(run, progress))
