"""The self-contained HTML page of a report: no script, font, style or image is fetched.

The template escapes all text of study files, data and tracebacks, and so does the module of SVG.
The page's script writes text as text, never as markup.
"""

from quatrain.report.build import Report
from quatrain.report.columns import (
    reason_columns,
    validation_columns,
)
from quatrain.report.curves import Curve
from quatrain.report.gallery import build_gallery
from quatrain.report.legend import verdict_legend
from quatrain.report.notes import notes_by_kind
from quatrain.report.page.cell_rows import build_cells, build_grid
from quatrain.report.page.diagnosis import build_diagnoses
from quatrain.report.page.effect_rows import build_group_effects, forests
from quatrain.report.page.found import build_found
from quatrain.report.page.lines import curves_svg
from quatrain.report.page.matrix import build_heat
from quatrain.report.page.provenance import commands, facts, run_rows
from quatrain.report.page.scatter import Scatter, scatter_svg, scatter_table
from quatrain.report.page.strips import glyph
from quatrain.report.page.svg import COLORS, SHAPES, asset
from quatrain.report.runs import StudyRuns
from quatrain.report.text import title_of, visible
from quatrain.results import ManifestCell, join_names, pluralize
from quatrain.results.files import is_file_within
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from jinja2 import Environment, PackageLoader, StrictUndefined
    from markupsafe import Markup

SAMPLE_LINES = 5
SAMPLE_WIDTH = 400
SAMPLE_BYTES = 2**20
"""Bytes of an output file that are read: a line may be as long as its file."""


def html_page(report: Report, scatter: Scatter | None = None) -> str:
    """The whole page; `scatter` saves computing the points of accuracy and cost again."""
    study, table, differences = report.study, report.table, report.differences
    title = title_of(differences.metric)
    scatter = scatter or Scatter(report)
    validation = validation_columns(report.curves, table.metric)
    return _environment().get_template("report.html.j2").render(
        style=asset("report.css"),
        script=asset("report.js"),
        glyph=glyph,
        title_of=title_of,
        pluralize=pluralize,
        table=table,
        metric=title_of(table.metric),
        compared=title,
        lower=study.manifest.better(table.metric) < 0,
        done=sum(run.record is not None for run in study.runs.values()),
        planned=len(study.runs),
        found=build_found(report),
        missed=[row for row in table.rows if row.as_expected is False],
        tested=sum(row.as_expected is not None for row in table.rows),
        reasons=build_grid(reason_columns(table)) if table.has_expectations else None,
        heat=build_heat(report.matrix) if report.matrix else None,
        scatter=scatter,
        picture=scatter_svg(scatter),
        points=build_grid(scatter_table(scatter)),
        colors=COLORS,
        shapes=SHAPES,
        effects=build_group_effects(report, title),
        forests=forests(report),
        legend=verdict_legend(differences),
        differences=differences,
        results=build_cells(report),
        unjudged=join_names(
            [title_of(name) for name in table.metric_names if not study.manifest.better(name)]
        ),
        curves=_curves(report.curves),
        validation=build_grid(validation) if validation else None,
        samples=_samples(study),
        sample_lines=SAMPLE_LINES,
        gallery=build_gallery(study),
        diagnoses=build_diagnoses(report, differences.metric, title),
        notes=notes_by_kind(table.notes),
        facts=facts(study),
        runs=run_rows(report),
        listed=sum(len(cell.identities) for cell in study.manifest.cells),
        commands=commands(study.manifest),
        failures=[
            (cell, seed, run.failure)
            for cell in study.manifest.cells
            for seed, run in study.runs_of(cell).items()
            if run.failure is not None
        ],
    )  # fmt: skip


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("quatrain.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: visible(value) if type(value) is str else value,
    )


def _curves(curves: list[Curve]) -> list[tuple[str, list[tuple[str, Markup, list[Curve]]]]]:
    """For each logged metric its title, and each group with its figure and curves."""
    found: dict[str, dict[str, list[Curve]]] = {}
    for curve in curves:
        found.setdefault(curve.name, {}).setdefault(curve.group, []).append(curve)
    return [
        (title_of(name), [(group, curves_svg(own), own) for group, own in groups.items()])
        for name, groups in found.items()
    ]


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
