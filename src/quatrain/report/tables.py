"""The table of a report: what each cell reached and cost, and what to know before comparing."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quatrain.report.column import format_fixed
from quatrain.report.metric_names import title_of
from quatrain.report.runs import Run, StudyRuns, metric_of
from quatrain.results import (
    Expectation,
    ManifestCell,
    Record,
    RunState,
    Summary,
    summarize,
)


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
    """Where the study said that the primary metric must lie."""
    as_expected: bool | None
    """Whether its mean lies there; None where nothing is said or finished."""


@dataclass(frozen=True)
class ReportTable:
    """The cells of a study in the order of the study file."""

    title: str
    question: str
    metric: str
    metric_names: tuple[str, ...]
    """The primary metric first."""
    rows: tuple[ReportRow, ...]
    notes: tuple[str, ...]
    """What a reader must know before comparing: runs that are missing, unlike machines."""

    @property
    def has_expectations(self) -> bool:
        """Whether the study says what some cell must reach."""
        return any(row.expected is not None for row in self.rows)


def build_table(study: StudyRuns) -> ReportTable:
    """The table of cells.

    Raises:
        StudyError: if a record lacks the primary metric.
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
            *_orphaned_runs(study),
            *study.notes,
            *_from_newer(study),
            *_about_data(study),
            *_unlike_scores(study),
            *_unlike_code(study),
            *_unlike_machines(study),
        ),
    )


def _row(study: StudyRuns, cell: ManifestCell) -> ReportRow:
    runs = study.of(cell)
    records = list(study.records(cell).values())
    headline = study.manifest.metric
    names = dict.fromkeys(name for record in records for name in record.metrics)
    values = {
        name: [metric_of(record, name) for record in records if name in (headline, *record.metrics)]
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


def _judged(rows: tuple[ReportRow, ...], metric: str) -> list[str]:
    """How many cells came as expected, and a sentence for each that did not."""
    judged = [row for row in rows if row.as_expected is not None]
    if not judged:
        return []
    against = [row for row in judged if not row.as_expected]
    return [
        f"{len(judged) - len(against)} of {len(judged)} expectations met",
        *(
            f"expectation not met: {row.group}, {row.cell}: "
            f"{format_fixed(row.metrics[metric].mean, 2)}, expected {row.expected.bounds} "
            f"because {row.expected.because}"
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


def _orphaned_runs(study: StudyRuns) -> list[str]:
    if not study.orphaned_runs:
        return []
    runs = _runs(study.orphaned_runs, "finished ")
    return [f"excluded: {runs} of cells that are no longer in the study"]


def _from_newer(study: StudyRuns) -> list[str]:
    """The fields of stored files that this version does not know and therefore leaves out."""
    stored = [
        study.manifest,
        *study.all_records(),
        *(run.measurement for run in study.runs.values() if run.measurement),
    ]
    names = dict.fromkeys(name for each in stored for name in each.unknown)
    return [f"ignored: fields written by a newer quatrain ({', '.join(names)})"] if names else []


def _runs(number: int, kind: str = "") -> str:
    return f"{number:,} {kind}{'run' if number == 1 else 'runs'}"


def _about_data(study: StudyRuns) -> list[str]:
    """What of the data was left out or changed, each once: runs share their data."""
    records = study.all_records()
    notes = {note: None for record in records for note in (record.data_notes or {}).items()}
    silent = sum(record.data_notes is None for record in records)
    return [
        *(f"data, {what}: {times:,}" for what, times in notes),
        *([f"data: warnings were not recorded in {_runs(silent)}"] if silent else []),
    ]


def _unlike_scores(study: StudyRuns) -> list[str]:
    """Metrics that some runs computed in another way, as a mean over fewer classes."""
    found: dict[str, dict[str, None]] = {}
    for record in study.all_records():
        for metric, signature in record.signatures.items():
            found.setdefault(metric, {})[signature] = None
    return [
        f"{title_of(metric)} was computed differently between runs: {' / '.join(signatures)}"
        for metric, signatures in found.items()
        if len(signatures) > 1
    ]


def _unlike_code(study: StudyRuns) -> list[str]:
    """Differences whose sides are of different code: then it is not the cells alone that differ."""
    records = study.all_records()
    commits = list[str]()
    versions: dict[str, list[str]] = {}
    for each in study.manifest.comparisons:
        left, right = study.sides(each)
        name = f"{each.left} − {each.right}"
        if any(left[seed].commit != right[seed].commit for seed in left):
            commits.append(name)
        for what in _versions_that_differ(left, right):
            versions.setdefault(what, []).append(name)
    changed = sum((record.commit or "").endswith("-dirty") for record in records)
    moved = sum(bool(record.earlier) for record in records)
    return [
        *([f"resumed with different code or on another machine: {_runs(moved)}"] if moved else []),
        *([f"compared cells ran different commits: {', '.join(commits)}"] if commits else []),
        *(
            f"compared cells ran different versions of {what}: {', '.join(names)}"
            for what, names in versions.items()
        ),
        *([f"uncommitted code changes in {_runs(changed)}"] if changed else []),
    ]


def _versions_that_differ(left: Mapping[int, Record], right: Mapping[int, Record]) -> list[str]:
    """Packages of which the two sides of some seed had different versions, and which."""
    found: dict[str, set[str]] = {}
    for seed, record in left.items():
        other = right[seed].versions
        for name in record.versions.keys() & other.keys():
            if record.versions[name] != other[name]:
                found.setdefault(name, set()).update((record.versions[name], other[name]))
    return [f"{name} ({' and '.join(sorted(found[name]))})" for name in sorted(found)]


def _unlike_machines(study: StudyRuns) -> list[str]:
    trained = {(record.device, record.threads) for record in study.all_records()}
    measured = {
        (run.measurement.device, run.measurement.threads)
        for run in study.runs.values()
        if run.measurement
    }
    return [
        f"{what} were measured on different machines: {_machines(machines)}"
        for what, machines in (("training times", trained), ("latencies", measured))
        if len(machines) > 1
    ]


def _machines(machines: set[tuple[str, int]]) -> str:
    return "; ".join(f"{device}, {threads} threads" for device, threads in sorted(machines))
