"""The tables in each format: for the terminal, as Markdown, as CSV and as rows for JSON.

CSV and JSON keep every digit and the base unit; tables for people are rounded and scaled.
"""

import csv
import io
from collections.abc import Mapping, Sequence

from quatrain.paper.findings import FINDINGS
from quatrain.report.build import Report
from quatrain.report.columns import (
    MATRIX_LEGEND,
    Column,
    Value,
    cell_columns,
    difference_columns,
    finding_columns,
    matrix_columns,
    reason_columns,
    validation_columns,
    verdict_legend,
)
from quatrain.report.differences import DifferenceTable
from quatrain.report.findings import FindingResult
from quatrain.report.tables import ReportTable
from quatrain.report.text import for_markdown, for_spreadsheet, visible
from quatrain.results.answers import Answer
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from rich import box
    from rich.table import Table
    from rich.text import Text


def to_terminal(columns: Sequence[Column], title: str) -> Table:
    """A table for `rich.console.Console`, in which a group is named once."""
    table = Table(
        title=Text(visible(title)),
        title_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1),
    )
    for column in columns:
        justify = "right" if column.numeric else "left"
        header = Text(visible(column.header).replace(" ", "\n", 1))
        table.add_column(header, justify=justify, no_wrap=column.numeric, overflow="fold")
    group = ""
    for first, *texts in zip(*(column.texts for column in columns), strict=True):
        line = ["" if first == group else first, *texts]
        table.add_row(*(Text(visible(text)) for text in line))
        group = first
    return table


def to_markdown(columns: Sequence[Column]) -> str:
    """A Markdown table."""
    rows = zip(*(column.texts for column in columns), strict=True)
    lines = [
        [for_markdown(column.header) for column in columns],
        ["---:" if column.numeric else "---" for column in columns],
        *([for_markdown(text) for text in row] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def markdown_page(report: Report) -> str:
    """Title, question, matrix, tables, notes and expectations of a report."""
    table, differences, matrix = report.table, report.differences, report.matrix
    parts = [f"# {for_markdown(table.title)}\n", f"{for_markdown(table.question, block=True)}\n"]
    if matrix is not None:
        parts += [to_markdown(matrix_columns(matrix)), f"{MATRIX_LEGEND}\n"]
    parts.append(to_markdown(cell_columns(table)))
    parts.append("Mean ± half the 95 % interval over seeds (Student's t).\n")
    if differences.rows:
        parts.append("## Differences\n")
        parts.append(to_markdown(difference_columns(differences)))
        parts.append(f"{verdict_legend(differences)}\n")
        if differences.has_published:
            parts.append("Published: the difference reported by others, in their own setting.\n")
    validation = validation_columns(report.curves, table.metric)
    if validation:
        parts += ["## Validation during training\n", to_markdown(validation)]
    if table.notes:
        parts.append("## Notes\n")
        parts.append("".join(f"- {for_markdown(note, block=True)}\n" for note in table.notes))
    if table.has_expectations:
        parts += ["## Expectations\n", to_markdown(reason_columns(table))]
    return "\n".join(parts)


FINDINGS_LEGEND = (
    "A statement holds if its verdict is the expected one, and does not hold if another is "
    "significant; a finding holds if all of its statements hold. One least-squares fit of cells "
    "and seeds for each group, with one residual variance; intervals of 95 % by Student's t cover "
    "the variation between seeds, not the choice of test examples, and are not adjusted. p-values, "
    "of a difference or of equivalence within the margin, are adjusted for all statements of a "
    "group (Shaffer)."
)

FINDINGS_SOURCE = (
    "Generated from the records by `quatrain findings --markdown docs/results/*/`; "
    "[log/results.md](log/results.md) says how the runs were made.\n"
)


def findings_page(reports: Mapping[str, Report]) -> str:
    """The paper's findings in the records of several studies, as a Markdown page.

    Args:
        reports: by the name of the study.
    """
    parts = ["# The paper's findings in our records\n", f"{FINDINGS_LEGEND}\n", FINDINGS_SOURCE]
    results = [(name, result) for name, report in reports.items() for result in report.findings]
    for finding in FINDINGS:
        parts.append(f"## {finding.number}. {finding.sentence}\n")
        own = [(name, result) for name, result in results if result.finding is finding]
        parts.append(to_markdown(finding_columns(own)) if own else "No finished runs yet.\n")
    parts.append("## Studies\n")
    for name, report in reports.items():
        link = f"[{for_markdown(report.table.title)}](results/{name}/report/report.md)"
        notes = "".join(f"  - {for_markdown(note, block=True)}\n" for note in report.table.notes)
        parts.append(f"- {link}, `{name}`\n{notes}")
    return "\n".join(parts)


def rows_as_json(table: ReportTable) -> list[dict[str, Value]]:
    """One flat dictionary per cell, all with the same keys, in base units."""
    rows: list[dict[str, Value]] = []
    for row in table.rows:
        flat: dict[str, Value] = {"group": row.group, "cell": row.cell, "spec": row.spec_name}
        for name in table.metric_names:
            for part, suffix in (("mean", ""), ("low", "_low"), ("high", "_high")):
                flat[name + suffix] = getattr(row.metrics.get(name), part, None)
        flat |= {"seeds": row.seeds_done, "seeds_planned": row.seeds_planned}
        flat |= {**row.quantities, "state": row.state}
        if table.has_expectations:
            flat |= {
                "expected_low": getattr(row.expected, "low", None),
                "expected_high": getattr(row.expected, "high", None),
                "as_expected": row.as_expected,
                "because": getattr(row.expected, "because", None),
            }
        rows.append(flat)
    return rows


def differences_as_json(table: DifferenceTable) -> list[dict[str, Value]]:
    """One flat dictionary per difference."""
    return [
        {
            "group": row.comparison.group,
            "left": row.comparison.left,
            "right": row.comparison.right,
            "metric": table.metric,
            **_estimate_as_json(row.answer),
            "seeds": row.seeds,
            "margin": table.margin,
            "level": table.level,
            "verdict": row.outcome,
            "expect": row.comparison.expect,
            **{f"{name}_difference": value for name, value in row.price.items()},
            "published": row.comparison.published,
        }
        for row in table.rows
    ]


def findings_as_json(results: Sequence[FindingResult]) -> list[dict[str, object]]:
    """Each finding with its statements."""
    return [
        {
            "number": result.finding.number,
            "finding": result.finding.sentence,
            "place": result.place,
            "group": result.group,
            "metric": result.metric,
            "margin": result.margin,
            "conclusion": result.conclusion,
            "statements": [
                {
                    "claim": found.statement.claim,
                    "contrast": found.statement.contrast,
                    "expected": found.statement.expected,
                    **_estimate_as_json(found.answer),
                    "verdict": found.answer.verdict,
                    "conclusion": found.conclusion,
                    "published": found.statement.published,
                }
                for found in result.statements
            ],
            "missing": [statement.contrast for statement in result.missing],
        }
        for result in results
    ]


def _estimate_as_json(found: Answer | None) -> dict[str, Value]:
    estimate = found.estimate if found else None
    return {
        "mean": getattr(estimate, "value", None),
        **{
            name: getattr(estimate, name, None)
            for name in ("low", "high", "standard_error", "df", "p", "p_equivalent")
        },
        **{
            name: getattr(found, name, None)
            for name in ("adjusted_p", "adjusted_p_equivalent", "further_seeds")
        },
    }


def to_csv(rows: Sequence[dict[str, Value]]) -> str:
    """The rows of `rows_as_json` or `differences_as_json` as CSV with a header line.

    Texts that a spreadsheet would evaluate as a formula begin with an apostrophe.
    """
    if not rows:
        return ""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for line in ([*rows[0]], *([*row.values()] for row in rows)):
        writer.writerow(for_spreadsheet(x) if isinstance(x, str) else x for x in line)
    return text.getvalue()
