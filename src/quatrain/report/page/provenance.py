"""The last section of a page: notes by kind, facts of the records, and how to repeat each run."""

import glob
import shlex
from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.runs import ReportedRun, StudyRuns
from quatrain.report.text import format_fixed, visible
from quatrain.results import Manifest
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup, escape


@dataclass(frozen=True)
class Command:
    """The command that executes the runs of a cell again."""

    group: str
    cell: str
    text: str


def facts(study: StudyRuns) -> list[tuple[str, str]]:
    """Each fact about the records with its values."""
    found: dict[str, set[str]] = {}
    known: set[tuple[object, ...]] = set()
    for record in study.all_records():
        device = f"{record.device}, {record.threads} threads"
        for kind, values in (
            ("", {"commit": record.commit or "not in a repository", "device": device}),
            ("version of ", record.versions),
            ("signature of ", record.signatures),
            ("hash of ", record.data),
        ):
            key = kind, *values.items()
            if key in known:
                continue
            known.add(key)
            for name, value in values.items():
                found.setdefault(kind + name, set()).add(value)
    return [(name, ", ".join(sorted(values))) for name, values in found.items()]


def run_rows(report: Report) -> Markup:
    """The rows of the table of all runs, by cell and seed."""
    metric = report.table.metric
    rows: list[str] = []
    for cell in report.study.manifest.cells:
        names = f"<tr><td>{escape(visible(cell.group))}<td>{escape(visible(cell.name))}<td>"
        for seed, run in report.study.runs_of(cell).items():
            texts = _texts(run, metric)
            rows.append(f"{names}{seed}<td>{cell.identities[seed][:16]}<td>{'<td>'.join(texts)}\n")
    return Markup("".join(rows))  # noqa: S704 - names are escaped, the rest are numbers


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


def _texts(run: ReportedRun, metric: str) -> list[str]:
    """State, steps, seconds and the metric of a run."""
    record = run.record
    if record is None:
        return [run.state.value, *["–"] * 3]
    value = record.metrics.get(metric)
    return [
        run.state.value,
        f"{record.steps:,}",
        format_fixed(record.seconds, 1),
        "–" if value is None else format_fixed(value, 4),
    ]
