"""The table of a report: metrics and cost of each cell, and notes on their comparability."""

import statistics
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from quatrain.report.groups import COSTS, Groups
from quatrain.report.guards import guard_notes
from quatrain.report.notes import Note
from quatrain.report.runs import StudyRuns
from quatrain.report.text import format_fixed, title_of
from quatrain.results import (
    Expectation,
    ManifestCell,
    Record,
    RunState,
    Summary,
    pluralize,
)

NOT_MET = "not met"
"""Verdict of a cell whose primary metric is outside the expected bounds."""

_LISTED_CELLS = 6
"""Cells that a note names one by one."""


@dataclass(frozen=True)
class ReportRow:
    """A cell: its metrics over seeds, its cost and the state of its runs."""

    group: str
    cell: str
    spec_name: str
    metrics: Mapping[str, Summary]
    seeds_done: int
    seeds_planned: int
    quantities: Mapping[str, float | None]
    """Mean over seeds of the counted `COSTS` and of `training_seconds`; median of the measured
    `latency_seconds` and `peak_bytes`. None where nothing was counted or measured."""
    state: str
    """`done`, or the number of runs in each state."""
    expected: Expectation | None
    """Expected bounds of the primary metric."""
    as_expected: bool | None
    """Whether its mean lies within; None without an expectation or a finished run."""


@dataclass(frozen=True)
class ReportTable:
    """The cells of a study in the order of the study file."""

    title: str
    question: str
    metric: str
    metric_names: tuple[str, ...]
    """The primary metric first."""
    rows: tuple[ReportRow, ...]
    notes: tuple[Note, ...]
    """Limits of a comparison: unfinished runs, different code, data or machines."""

    @property
    def has_expectations(self) -> bool:
        """Whether the study states an expected value for a cell."""
        return any(row.expected is not None for row in self.rows)


@dataclass(frozen=True)
class Matrix:
    """The rows of a report by (cell, group): mechanisms down, questions across.

                saliency      offset
    0010       100.0 (≥ 95)   14.7 (≤ 25)
    0001        13.2 (≤ 25)  100.0 (≥ 95)
    """

    metric: str
    cells: tuple[str, ...]
    groups: tuple[str, ...]
    rows: Mapping[tuple[str, str], ReportRow]


def build_matrix(table: ReportTable) -> Matrix | None:
    """The cells as a matrix; None unless there are two groups and all have the same cells."""
    groups = tuple(dict.fromkeys(row.group for row in table.rows))
    cells = tuple(dict.fromkeys(row.cell for row in table.rows))
    if len(groups) < 2 or len(table.rows) != len(groups) * len(cells):
        return None
    rows = {(row.cell, row.group): row for row in table.rows}
    return Matrix(table.metric, cells, groups, rows)


def build_table(study: StudyRuns, groups: Groups) -> ReportTable:
    """The table of cells; StudyError if a record lacks the primary metric."""
    manifest = study.manifest
    rows = tuple(_row(study, groups, cell) for cell in manifest.cells)
    others = dict.fromkeys(name for row in rows for name in row.metrics if name != manifest.metric)
    names = (manifest.metric, *others)
    notes = (
        *_expectation_notes(rows, manifest.metric),
        *_unfinished_notes(rows),
        *_orphaned_notes(study),
        *study.notes,
        *_unknown_field_notes(study),
        *_data_notes(study),
        *_signature_notes(study),
        *_direction_notes(study, names),
        *_code_notes(study),
        *guard_notes(study, groups),
        *_machine_notes(study),
    )
    return ReportTable(manifest.title, manifest.question, manifest.metric, names, rows, notes)


def _row(study: StudyRuns, groups: Groups, cell: ManifestCell) -> ReportRow:
    runs = study.runs_of(cell)
    records = list(study.records(cell).values())
    primary = study.manifest.metric
    names = dict.fromkeys(name for record in records for name in (primary, *record.metrics))
    fits = {name: groups.fit(cell.group, name) for name in names}
    metrics = {name: fitted.mean(cell.name) for name, fitted in fits.items() if fitted}
    counted = [run.cost for run in runs.values()]
    costs = {name: [cost[name] for cost in counted if name in cost] for name in COSTS}
    costs["training_seconds"] = [record.seconds for record in records]
    measurements = [run.measurement for run in runs.values() if run.measurement]
    latencies = [s for run in measurements if (s := run.median_seconds) is not None]
    peaks = [size for run in measurements if (size := run.peak_bytes) is not None]
    return ReportRow(
        group=cell.group,
        cell=cell.name,
        spec_name=cell.spec_name,
        metrics=metrics,
        seeds_done=len(records),
        seeds_planned=len(runs),
        quantities={
            **{name: statistics.fmean(each) if each else None for name, each in costs.items()},
            "latency_seconds": statistics.median(latencies) if latencies else None,
            "peak_bytes": statistics.median(peaks) if peaks else None,
        },
        state=_state(Counter(run.state for run in runs.values())),
        expected=cell.expected,
        as_expected=(
            cell.expected.met_by(metrics[primary].mean) if cell.expected and metrics else None
        ),
    )


def _state(counts: Counter[RunState]) -> str:
    if counts[RunState.DONE] == counts.total():
        return RunState.DONE.value
    return ", ".join(f"{counts[state]} {state.value}" for state in RunState if counts[state])


def _expectation_notes(rows: tuple[ReportRow, ...], metric: str) -> list[Note]:
    """The number of expectations that are met, and each one that is not."""
    tested = [row for row in rows if row.as_expected is not None]
    if not tested:
        return []
    failed = [(row, row.expected) for row in tested if row.expected and not row.as_expected]
    texts = [
        f"{len(tested) - len(failed)} of {len(tested)} expectations met",
        *(
            f"expectation not met: {row.group}, {row.cell}: "
            f"{format_fixed(row.metrics[metric].mean, 2)}, expected {expected.bounds} "
            f"because {expected.because}"
            for row, expected in failed
        ),
    ]
    return [Note("Expectations", text) for text in texts]


def _unfinished_notes(rows: tuple[ReportRow, ...]) -> list[Note]:
    """One note for each cell with failed runs, and one for all other unfinished cells."""
    unfinished = [row for row in rows if row.seeds_done < row.seeds_planned]
    failed = [row for row in unfinished if RunState.FAILED.value in row.state]
    waiting = [row for row in unfinished if row not in failed]
    texts = [f"{row.group}, {row.cell}: of {row.seeds_planned} runs, {row.state}" for row in failed]
    texts += [f"runs still to be done: {_list_cells(waiting)}"] if waiting else []
    return [Note("Unfinished runs", text) for text in texts]


def _list_cells(rows: Sequence[ReportRow]) -> str:
    """The names of a few cells; of more, their number in each group."""
    if len(rows) <= _LISTED_CELLS:
        return ", ".join(f"{row.group}/{row.cell}" for row in rows)
    numbers = Counter(row.group for row in rows)
    return ", ".join(f"{group} ({pluralize(n, 'cell')})" for group, n in numbers.items())


def _orphaned_notes(study: StudyRuns) -> list[Note]:
    if not study.orphaned_runs:
        return []
    runs = pluralize(study.orphaned_runs, "finished run")
    text = f"excluded: {runs} of cells that are no longer in the study"
    return [Note("Unfinished runs", text)]


def _unknown_field_notes(study: StudyRuns) -> list[Note]:
    """The fields of stored files that this version does not know."""
    stored = [study.manifest, *study.all_records(), *study.measurements()]
    names = dict.fromkeys(name for model in stored for name in model.unknown)
    text = f"ignored: fields written by a newer quatrain ({', '.join(names)})"
    return [Note("Code and versions", text)] if names else []


def _data_notes(study: StudyRuns) -> list[Note]:
    """The data warnings of all runs, each once: runs share their data."""
    records = study.all_records()
    warnings = dict.fromkeys(
        counted for record in records for counted in (record.data_notes or {}).items()
    )
    missing = sum(record.data_notes is None for record in records)
    texts = [f"data, {warning}: {times:,}" for warning, times in warnings]
    if missing:
        texts.append(f"data: warnings were not recorded in {pluralize(missing, 'run')}")
    return [Note("Data", text) for text in texts]


def _signature_notes(study: StudyRuns) -> list[Note]:
    """Metrics that were computed differently, for example as a mean over fewer classes."""
    signatures: dict[str, dict[str, None]] = {}
    for record in study.all_records():
        for metric, signature in record.signatures.items():
            signatures.setdefault(metric, {})[signature] = None
    return [
        Note(
            "Metrics",
            f"{title_of(metric)} was computed differently between runs: {' / '.join(different)}",
        )
        for metric, different in signatures.items()
        if len(different) > 1
    ]


def _direction_notes(study: StudyRuns, names: Collection[str]) -> list[Note]:
    """The metrics of `lower_is_better` that no finished run has, as after a typing error."""
    declared = study.manifest.lower_is_better
    unknown = [name for name in declared if name not in names] if isinstance(declared, dict) else []
    if not unknown or not study.all_records():
        return []
    return [Note("Metrics", f"lower_is_better names metrics of no run: {', '.join(unknown)}")]


def _code_notes(study: StudyRuns) -> list[Note]:
    """Comparisons of cells that ran different commits or versions of packages."""
    records = study.all_records()
    commits: list[str] = []
    versions: dict[str, list[str]] = {}
    for comparison in study.manifest.comparisons:
        left, right = study.paired_records(comparison)
        name = f"{comparison.left} − {comparison.right}"
        if any(left[seed].commit != right[seed].commit for seed in left):
            commits.append(name)
        for difference in _version_differences(left, right):
            versions.setdefault(difference, []).append(name)
    dirty = sum((record.commit or "").endswith("-dirty") for record in records)
    moved = sum(bool(record.earlier) for record in records)
    elsewhere = "resumed with different code or on another machine"
    texts = [f"{elsewhere}: {pluralize(moved, 'run')}"] if moved else []
    texts += [f"compared cells ran different commits: {', '.join(commits)}"] if commits else []
    texts += [
        f"compared cells ran different versions of {difference}: {', '.join(names)}"
        for difference, names in versions.items()
    ]
    texts += [f"uncommitted code changes in {pluralize(dirty, 'run')}"] if dirty else []
    return [Note("Code and versions", text) for text in texts]


def _version_differences(left: Mapping[int, Record], right: Mapping[int, Record]) -> list[str]:
    """The packages whose versions differ between the two runs of a seed, with the versions."""
    different: dict[str, set[str]] = {}
    for seed, record in left.items():
        other = right[seed].versions
        for name, version in record.versions.items():
            if other.get(name, version) != version:
                different.setdefault(name, set()).update((version, other[name]))
    return [f"{name} ({' and '.join(sorted(different[name]))})" for name in sorted(different)]


def _machine_notes(study: StudyRuns) -> list[Note]:
    trained = {(record.device, record.threads) for record in study.all_records()}
    timed = [run for run in study.measurements() if run.median_seconds is not None]
    measured = {(run.device, run.threads) for run in timed}
    return [
        Note(
            "Machines",
            f"{quantity} were measured on different machines: "
            + "; ".join(f"{device}, {threads} threads" for device, threads in sorted(machines)),
        )
        for quantity, machines in (("training times", trained), ("latencies", measured))
        if len(machines) > 1
    ]
