"""The two tables of a report: what each cell reached and cost, and the differences asked for."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quatrain.report.runs import Run, StudyRuns
from quatrain.results import (
    Expectation,
    ManifestCell,
    ManifestComparison,
    Record,
    RunState,
    Summary,
    paired_difference,
    summarize,
)
from quatrain.specs import StudyError


@dataclass(frozen=True)
class ReportRow:
    """A cell: its metrics over seeds, its cost, and what is missing of it."""

    group: str
    cell: str
    spec_name: str
    metrics: Mapping[str, Summary]
    seeds_done: int
    seeds_planned: int
    multiply_adds: float | None
    parameters: float | None
    seconds: float | None
    """Mean wall seconds of training."""
    latency: float | None
    """Median over seeds of the measured median seconds."""
    peak_bytes: float | None
    """Median over seeds of the measured peak memory."""
    state: str
    """`done`, or how many runs are done, failed, paused, running and absent."""
    expected: Expectation | None
    """Where the study said that the headline metric must lie."""
    as_expected: bool | None
    """Whether its mean lies there; None where nothing is said or finished."""


@dataclass(frozen=True)
class ReportTable:
    """The cells of a study in the order of the study file."""

    title: str
    question: str
    metric: str
    metric_names: tuple[str, ...]
    """The headline metric first."""
    rows: tuple[ReportRow, ...]
    notes: tuple[str, ...]
    """What a reader must know before comparing: runs that are missing, unlike machines."""

    @property
    def has_expectations(self) -> bool:
        """Whether the study says beforehand what some cell must reach."""
        return any(row.expected is not None for row in self.rows)


@dataclass(frozen=True)
class DifferenceRow:
    """`left` minus `right`, paired by seed; no summary where they share no finished seed."""

    group: str
    left: str
    right: str
    summary: Summary | None
    verdict: str
    published: float | None


@dataclass(frozen=True)
class DifferenceTable:
    """The comparisons the study asked for, in its headline metric."""

    metric: str
    rows: tuple[DifferenceRow, ...]

    @property
    def has_published(self) -> bool:
        """Whether the study quotes what others found."""
        return any(row.published is not None for row in self.rows)


def build_table(study: StudyRuns) -> ReportTable:
    """The table of cells.

    Raises:
        StudyError: if a record lacks the headline metric.
    """
    manifest = study.manifest
    rows = tuple(_row(study, cell) for cell in manifest.cells)
    others = dict.fromkeys(name for row in rows for name in row.metrics if name != manifest.metric)
    return ReportTable(
        manifest.title,
        manifest.question,
        manifest.metric,
        (manifest.metric, *others),
        rows,
        (
            *_judged(rows, manifest.metric),
            *_missing(rows),
            *_strangers(study),
            *_about_data(study),
            *_unlike_machines(study),
        ),
    )


def build_differences(study: StudyRuns) -> DifferenceTable:
    """The table of differences.

    Raises:
        StudyError: if a record lacks the headline metric.
    """
    manifest = study.manifest
    rows = tuple(_difference(study, comparison) for comparison in manifest.comparisons)
    return DifferenceTable(manifest.metric, rows)


def _row(study: StudyRuns, cell: ManifestCell) -> ReportRow:
    runs = study.of(cell)
    records = list(study.records(cell).values())
    headline = study.manifest.metric
    names = dict.fromkeys(name for record in records for name in record.metrics)
    values = {
        name: [_metric(record, name) for record in records if name in (headline, *record.metrics)]
        for name in ([headline, *names] if records else [])
    }
    measured = [run.measurement for run in runs.values() if run.measurement]
    metrics = {name: summarize(numbers) for name, numbers in values.items()}
    return ReportRow(
        group=cell.group,
        cell=cell.name,
        spec_name=cell.spec_name,
        metrics=metrics,
        seeds_done=len(records),
        seeds_planned=len(runs),
        multiply_adds=_mean_cost(records, "multiply_adds"),
        parameters=_mean_cost(records, "parameters"),
        seconds=statistics.fmean(record.seconds for record in records) if records else None,
        latency=_median([each.median_seconds for each in measured]),
        peak_bytes=_median([each.peak_bytes for each in measured]),
        state=_state(list(runs.values())),
        expected=cell.expected,
        as_expected=(
            cell.expected.met_by(metrics[headline].mean) if cell.expected and metrics else None
        ),
    )


def _metric(record: Record, name: str) -> float:
    if name not in record.metrics:
        known = ", ".join(record.metrics) or "none"
        raise StudyError(
            "metric",
            name,
            f"a metric of the records ({known})",
            "mend the metric in the study file and run the study again: finished runs are kept",
        )
    return record.metrics[name]


def _mean_cost(records: list[Record], name: str) -> float | None:
    values = [record.cost[name] for record in records if name in record.cost]
    return statistics.fmean(values) if values else None


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None


def _state(runs: list[Run]) -> str:
    counts = Counter(run.state for run in runs)
    if counts[RunState.DONE] == len(runs):
        return RunState.DONE.value
    return ", ".join(f"{counts[state]} {state.value}" for state in RunState if counts[state])


def _difference(study: StudyRuns, comparison: ManifestComparison) -> DifferenceRow:
    cells = {cell.name: cell for cell in study.manifest.cells if cell.group == comparison.group}
    left, right = (
        {
            seed: _metric(record, study.manifest.metric)
            for seed, record in study.records(cells[name]).items()
        }
        for name in (comparison.left, comparison.right)
    )
    names = (comparison.group, comparison.left, comparison.right)
    if not left.keys() & right.keys():
        return DifferenceRow(*names, None, "no seed finished in both", comparison.published)
    summary = paired_difference(left, right)
    return DifferenceRow(*names, summary, _verdict(comparison, summary), comparison.published)


def _verdict(comparison: ManifestComparison, summary: Summary) -> str:
    if summary.low is None:
        return "undecided (one seed)"
    if not summary.decided:
        return "undecided"
    return f"{comparison.left if summary.mean > 0 else comparison.right} is higher"


def _judged(rows: tuple[ReportRow, ...], metric: str) -> list[str]:
    """How many cells came as expected, and a sentence for each that did not."""
    judged = [row for row in rows if row.as_expected is not None]
    if not judged:
        return []
    against = [row for row in judged if not row.as_expected]
    return [
        f"{len(judged) - len(against)} of {len(judged)} cells are as expected",
        *(
            f"against expectation: {row.group}, {row.cell}: {row.metrics[metric].mean:.2f}, not "
            f"{row.expected.bounds}, expected because {row.expected.because}"
            for row in against
            if row.expected
        ),
    ]


def _missing(rows: tuple[ReportRow, ...]) -> list[str]:
    """A sentence for each cell with failed runs, and one for all that are only not done yet."""
    unfinished = [row for row in rows if row.seeds_done < row.seeds_planned]
    failed = [row for row in unfinished if RunState.FAILED.value in row.state]
    waiting = [f"{row.group}/{row.cell}" for row in unfinished if row not in failed]
    notes = [f"{row.group}, {row.cell}: of {row.seeds_planned} runs, {row.state}" for row in failed]
    return [*notes, f"runs still to be done: {', '.join(waiting)}"] if waiting else notes


def _strangers(study: StudyRuns) -> list[str]:
    if not study.strangers:
        return []
    runs = "finished run" if study.strangers == 1 else "finished runs"
    return [f"left out: {study.strangers} {runs} of cells that the study no longer has"]


def _about_data(study: StudyRuns) -> list[str]:
    """What of the data was left out or changed, each once: runs share their data."""
    notes = {note: None for record in study.all_records() for note in record.data_notes.items()}
    return [f"data, {what}: {times:,}" for what, times in notes]


def _unlike_machines(study: StudyRuns) -> list[str]:
    trained = {(record.device, record.threads) for record in study.all_records()}
    measured = {
        (run.measurement.device, run.measurement.threads)
        for run in study.runs.values()
        if run.measurement
    }
    return [
        f"{what} were taken on unlike machines: {_machines(machines)}"
        for what, machines in (("training times", trained), ("latencies", measured))
        if len(machines) > 1
    ]


def _machines(machines: set[tuple[str, int]]) -> str:
    return "; ".join(f"{device}, {threads} threads" for device, threads in sorted(machines))
