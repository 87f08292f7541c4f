"""One self-contained HTML page: no script, font, style or picture comes from anywhere else.

Whatever a study file, a data file or a traceback says is escaped by the template; only the SVG
of our own plots goes in as it is, and matplotlib has escaped the text in that.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from quatrain.report.column import Column
from quatrain.report.curves import Curve
from quatrain.report.differences import DifferenceTable
from quatrain.report.expectations import reason_columns
from quatrain.report.figure import FAINT, INK, PAPER
from quatrain.report.gallery import build_gallery
from quatrain.report.matrix import build_matrix
from quatrain.report.metric_names import title_of
from quatrain.report.plot import accuracy_cost_svg, curves_svg, forest_svg, matrix_svg
from quatrain.report.render import cell_columns, difference_columns, verdict_legend
from quatrain.report.runs import Run, StudyRuns
from quatrain.report.tables import ReportTable
from quatrain.report.validation import validation_columns
from quatrain.results import ManifestCell
from quatrain.results.reading import is_file_within

SAMPLE_LINES = 5
SAMPLE_WIDTH = 400
SAMPLE_BYTES = 2**20
"""Where the first lines are sought: a line may be as long as its file."""


@dataclass(frozen=True)
class Sample:
    """What the cells of a group wrote for one test sentence."""

    group: str
    number: int
    outputs: tuple[tuple[str, str], ...]
    """(cell, line)."""


@dataclass(frozen=True)
class RunLine:
    """A run as the page lists it."""

    group: str
    cell: str
    seed: int
    identity: str
    run: Run


def html_page(
    study: StudyRuns, table: ReportTable, differences: DifferenceTable, curves: Sequence[Curve]
) -> str:
    """The whole page."""
    progress = validation_columns(curves, table.metric)
    environment = Environment(
        loader=PackageLoader("quatrain.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    lines = _run_lines(study)
    matrix = build_matrix(table)
    return environment.get_template("report.html.j2").render(
        table=table,
        metric=title_of(table.metric),
        headline=_body(cell_columns(table)),
        matrix=None if matrix is None else _inline(matrix_svg(matrix)),
        reasons=_body(reason_columns(table)) if table.has_expectations else None,
        differences=_body(difference_columns(differences)) if differences.rows else None,
        verdict_legend=verdict_legend(differences),
        published=differences.has_published,
        forest=_inline(forest_svg(differences)),
        accuracy_cost=_inline(accuracy_cost_svg(table)),
        curves=[
            (title_of(name), _inline(curves_svg(curves, name)))
            for name in dict.fromkeys(curve.name for curve in curves)
        ],
        progress=_body(progress) if progress else None,
        samples=_samples(study),
        gallery=build_gallery(study),
        provenance=_provenance(study),
        runs=lines,
        failures=[line for line in lines if line.run.failure is not None],
    )


def _body(shown: Sequence[Column]) -> dict[str, object]:
    rows = zip(
        *(list(zip(column.texts, column.values, strict=True)) for column in shown), strict=True
    )
    return {"columns": shown, "rows": [list(zip(shown, row, strict=True)) for row in rows]}


def _inline(svg: str) -> str:
    themed = svg.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    # Every plot calls its groups figure_1, axes_1, ...: one page may hold an id once only.
    return re.sub('<g id="[^"]*"', "<g", themed.replace(PAPER, "none"))


def _run_lines(study: StudyRuns) -> list[RunLine]:
    return [
        RunLine(cell.group, cell.name, seed, cell.identities[seed][:16], run)
        for cell in study.manifest.cells
        for seed, run in study.of(cell).items()
    ]


def _samples(study: StudyRuns) -> list[Sample]:
    samples: list[Sample] = []
    for group in dict.fromkeys(cell.group for cell in study.manifest.cells):
        cells = [cell for cell in study.manifest.cells if cell.group == group]
        written = {cell.name: lines for cell in cells if (lines := _hypotheses(study, cell))}
        for number in range(max(map(len, written.values()), default=0)):
            outputs = [
                (name, lines[number]) for name, lines in written.items() if number < len(lines)
            ]
            samples.append(Sample(group, number + 1, tuple(outputs)))
    return samples


def _hypotheses(study: StudyRuns, cell: ManifestCell) -> list[str]:
    for run in study.of(cell).values():
        path = run.folder / "hypotheses.txt"
        if run.record is None or not path.exists():
            continue
        if not is_file_within(path, run.folder):
            return [f"(not shown: {path.name} is no file of the run's folder)"]
        return _head(path)
    return []


def _head(path: Path) -> list[str]:
    with path.open(encoding="utf-8", errors="replace") as file:
        text = file.read(SAMPLE_BYTES)
    lines = text.removesuffix("\n").split("\n") if text else []
    return [line[:SAMPLE_WIDTH] for line in lines[:SAMPLE_LINES]]


def _provenance(study: StudyRuns) -> list[tuple[str, str]]:
    records = study.all_records()
    seen: dict[str, dict[str, None]] = {}
    for record in records:
        facts = [
            ("commit", record.commit or "not in a repository"),
            ("device", f"{record.device}, {record.threads} threads"),
            *((f"version of {name}", version) for name, version in record.versions.items()),
            *((f"signature of {name}", text) for name, text in record.signatures.items()),
            *((f"hash of {name}", digest) for name, digest in record.data.items()),
        ]
        for name, value in facts:
            seen.setdefault(name, {})[value] = None
    return [(name, ", ".join(sorted(values))) for name, values in seen.items()]
