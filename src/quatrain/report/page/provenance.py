"""The last section of a page: notes by kind, facts of the records, and how to repeat each run."""

import glob
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.runs import ReportedRun, StudyRuns
from quatrain.report.text import format_fixed
from quatrain.results import Manifest, ManifestCell

KINDS = (
    ("Expectations", r"expectation not met|\d+ of \d+ expectations"),
    ("Unfinished runs", r"runs still to be done|groups not started|.*: of \d+ runs, |excluded: "),
    ("Data", r"data[ ,:]|cells of group .* were trained on different data"),
    (
        "Code and versions",
        r"compared cells ran|resumed with|uncommitted|.* changed after \d|ignored",
    ),
    ("Machines", r".* were measured on different machines"),
    ("Metrics", r".* was computed differently"),
)
"""The kind of a note by its beginning; others are "Other"."""


@dataclass(frozen=True)
class Notes:
    """The notes of one kind."""

    kind: str
    notes: tuple[str, ...]


@dataclass(frozen=True)
class RunRow:
    """A run: its cell and seed, the first digits of its identity, and what it measured."""

    group: str
    cell: str
    seed: int
    folder: str
    state: str
    steps: str
    seconds: str
    value: str


@dataclass(frozen=True)
class Command:
    """The command that executes the runs of a cell again."""

    group: str
    cell: str
    text: str


def notes_by_kind(notes: Iterable[str]) -> list[Notes]:
    """The notes by kind, in the order of `KINDS`."""
    kinds: dict[str, list[str]] = {kind: [] for kind, _ in KINDS}
    for note in notes:
        kind = next((kind for kind, start in KINDS if re.match(start, note, re.DOTALL)), "Other")
        kinds.setdefault(kind, []).append(note)
    return [Notes(kind, tuple(members)) for kind, members in kinds.items() if members]


def facts(study: StudyRuns) -> list[tuple[str, str]]:
    """Each fact about the records with its values."""
    found: dict[str, set[str]] = {}
    for record in study.all_records():
        for name, value in (
            ("commit", record.commit or "not in a repository"),
            ("device", f"{record.device}, {record.threads} threads"),
            *((f"version of {name}", version) for name, version in record.versions.items()),
            *((f"signature of {name}", text) for name, text in record.signatures.items()),
            *((f"hash of {name}", digest) for name, digest in record.data.items()),
        ):
            found.setdefault(name, set()).add(value)
    return [(name, ", ".join(sorted(values))) for name, values in found.items()]


def run_rows(report: Report) -> list[RunRow]:
    """All runs by cell and seed."""
    metric = report.table.metric
    return [
        _row(cell, seed, run, metric)
        for cell in report.study.manifest.cells
        for seed, run in report.study.runs_of(cell).items()
    ]


def commands(manifest: Manifest) -> list[Command]:
    """The command for each cell; finished runs in DIR are not executed again."""
    return [
        Command(
            cell.group,
            cell.name,
            "quatrain study run STUDY.py "
            f"--cells {shlex.quote(glob.escape(cell.label))} "
            f"--seeds {','.join(map(str, sorted(cell.identities)))} --out DIR",
        )
        for cell in manifest.cells
    ]


def _row(cell: ManifestCell, seed: int, run: ReportedRun, metric: str) -> RunRow:
    record = run.record
    value = record.metrics.get(metric) if record else None
    return RunRow(
        cell.group,
        cell.name,
        seed,
        cell.identities[seed][:16],
        run.state.value,
        f"{record.steps:,}" if record else "–",
        format_fixed(record.seconds, 1) if record else "–",
        "–" if value is None else format_fixed(value, 4),
    )
