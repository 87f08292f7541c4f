"""The self-contained HTML page of a report: no script, font, style or image is fetched.

The template escapes all text of study files, data and tracebacks; only the SVG of our own figures
is inserted as it is, and matplotlib has escaped the text in it.
"""

import re
from collections.abc import Mapping, Sequence

from quatrain.report.build import Report
from quatrain.report.columns import (
    Column,
    cell_columns,
    difference_columns,
    reason_columns,
    validation_columns,
    verdict_legend,
)
from quatrain.report.figure import FAINT, INK, PAPER
from quatrain.report.gallery import build_gallery
from quatrain.report.plot import curves_svg, forest_svg
from quatrain.report.runs import StudyRuns
from quatrain.report.text import title_of
from quatrain.results import ManifestCell
from quatrain.results.files import is_file_within
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from jinja2 import Environment, PackageLoader, StrictUndefined

SAMPLE_LINES = 5
SAMPLE_WIDTH = 400
SAMPLE_BYTES = 2**20
"""Bytes of an output file that are read: a line may be as long as its file."""


def html_page(report: Report, figures: Mapping[str, str]) -> str:
    """The whole page, which contains the `figures` that are also files, by name."""
    study, table, differences = report.study, report.table, report.differences
    validation = validation_columns(report.curves, table.metric)
    environment = Environment(
        loader=PackageLoader("quatrain.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    runs = [
        (cell, seed, run)
        for cell in study.manifest.cells
        for seed, run in study.runs_of(cell).items()
    ]
    return environment.get_template("report.html.j2").render(
        table=table,
        metric=title_of(table.metric),
        results=_grid(cell_columns(table)),
        matrix=_inline(figures.get("matrix.svg", "")),
        reasons=_grid(reason_columns(table)) if table.has_expectations else None,
        differences=_grid(difference_columns(differences)) if differences.rows else None,
        verdict_legend=verdict_legend(differences),
        published=differences.has_published,
        forest=_inline(forest_svg(differences)) if differences.rows else None,
        accuracy_cost=_inline(figures["accuracy_cost.svg"]),
        curves=[
            (title_of(name), _inline(curves_svg(report.curves, name)))
            for name in dict.fromkeys(curve.name for curve in report.curves)
        ],
        validation=_grid(validation) if validation else None,
        samples=_samples(study),
        sample_lines=SAMPLE_LINES,
        gallery=build_gallery(study),
        provenance=_provenance(study),
        runs=runs,
        failures=[line for line in runs if line[-1].failure is not None],
    )


def _grid(columns: Sequence[Column]) -> dict[str, object]:
    cells = (list(zip(column.texts, column.values, strict=True)) for column in columns)
    rows = [list(zip(columns, row, strict=True)) for row in zip(*cells, strict=True)]
    return {"columns": columns, "rows": rows}


def _inline(svg: str) -> str:
    themed = svg.replace(INK, "currentColor").replace(FAINT, "var(--faint)")
    # Groups are called figure_1, axes_1, ... in every figure, but ids of a page are unique.
    return re.sub('<g id="[^"]*"', "<g", themed.replace(PAPER, "none"))


def _samples(study: StudyRuns) -> dict[str, dict[str, list[str]]]:
    """The first output lines by group and cell."""
    samples: dict[str, dict[str, list[str]]] = {}
    for cell in study.manifest.cells:
        if lines := _hypotheses(study, cell):
            samples.setdefault(cell.group, {})[cell.name] = lines
    return samples


def _hypotheses(study: StudyRuns, cell: ManifestCell) -> list[str]:
    """The first lines of the outputs of the first finished run that has some."""
    for run in study.runs_of(cell).values():
        path = run.folder / "hypotheses.txt"
        if run.record is None or not path.exists():
            continue
        if not is_file_within(path, run.folder):
            return [f"(not shown: {path.name} is not a file in the run's folder)"]
        with path.open(encoding="utf-8", errors="replace") as file:
            text = file.read(SAMPLE_BYTES)
        lines = text.removesuffix("\n").split("\n") if text else []
        return [line[:SAMPLE_WIDTH] for line in lines[:SAMPLE_LINES]]
    return []


def _provenance(study: StudyRuns) -> list[tuple[str, str]]:
    """Each fact about the records with its values."""
    facts: dict[str, set[str]] = {}
    for record in study.all_records():
        for name, value in (
            ("commit", record.commit or "not in a repository"),
            ("device", f"{record.device}, {record.threads} threads"),
            *((f"version of {name}", version) for name, version in record.versions.items()),
            *((f"signature of {name}", text) for name, text in record.signatures.items()),
            *((f"hash of {name}", digest) for name, digest in record.data.items()),
        ):
            facts.setdefault(name, set()).add(value)
    return [(name, ", ".join(sorted(values))) for name, values in facts.items()]
