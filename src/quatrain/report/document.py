"""A report as data: rows for JSON and CSV, and one JSON document with everything.

The document is described by `report.schema.json` in this folder. Numbers keep every digit, in base
units; a number that is unknown is null.
"""

import json
from collections.abc import Mapping, Sequence

from quatrain.report.build import Report
from quatrain.report.columns import Value
from quatrain.report.differences import DifferenceTable
from quatrain.report.effects import GridEffects
from quatrain.report.findings import FindingResult
from quatrain.report.groups import COSTS
from quatrain.report.methods import methods_of, references_of
from quatrain.report.notes import notes_by_kind
from quatrain.report.tables import ReportTable
from quatrain.results.answers import Answer
from quatrain.results.diagnostics import Diagnostics
from quatrain.results.fit import Estimate

FORMAT = 1
"""The version of the document; a reader refuses a newer one."""

Row = dict[str, Value]
_ESTIMATE = ("low", "high", "standard_error", "df", "p")


def report_document(report: Report) -> dict[str, object]:
    """The report as one JSON value, with groups that were not started.

    Raises:
        StudyError: if a record lacks the compared metric.
    """
    full = report.all_groups
    methods = methods_of(report)
    return {
        "format": FORMAT,
        "study": _study(full),
        "found": [
            {
                "mark": sentence.mark,
                "word": sentence.word,
                "group": sentence.group,
                "text": sentence.text,
            }
            for sentence in full.sentences
        ],
        "cells": rows_as_json(full.table),
        "differences": differences_as_json(full.differences),
        "effects": [_grid_as_json(grid, full.differences.metric) for grid in full.effects],
        "findings": findings_as_json(full.findings),
        "diagnostics": [
            {"group": group, "metric": full.differences.metric, **_diagnostics_as_json(found)}
            for group, found in full.diagnostics.items()
        ],
        "methods": [
            {"text": method.text, "references": [*method.references]} for method in methods
        ],
        "references": references_of(methods),
        "notes": [
            {"kind": kind, "text": text}
            for kind, texts in notes_by_kind(report.table.notes).items()
            for text in texts
        ],
    }


def to_json(document: Mapping[str, object]) -> str:
    """Strict JSON in ASCII: no NaN, no infinity, and no invisible characters."""
    return json.dumps(document, indent=2, allow_nan=False) + "\n"


def rows_as_json(table: ReportTable) -> list[Row]:
    """One flat dictionary per cell, all with the same keys, in base units."""
    rows: list[Row] = []
    for row in table.rows:
        flat: Row = {"group": row.group, "cell": row.cell, "spec": row.spec_name}
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


def differences_as_json(table: DifferenceTable) -> list[Row]:
    """One flat dictionary per difference, all with the same keys.

    Fields that begin with `welch_` are of the two cells alone, each with a variance of its own.
    """
    return [
        {
            "group": row.comparison.group,
            "left": row.comparison.left,
            "right": row.comparison.right,
            "metric": table.metric,
            **_answer_as_json(row.answer),
            **{f"welch_{name}": getattr(row.welch, name, None) for name in _ESTIMATE},
            "test_examples": table.examples if row.over_test_examples else None,
            "test_examples_low": getattr(row.over_test_examples, "low", None),
            "test_examples_high": getattr(row.over_test_examples, "high", None),
            "seeds": row.seeds,
            "margin": table.margin,
            "seeds_planned": row.progress.planned,
            "level": row.level,
            "verdict": row.outcome,
            "expect": row.comparison.expect,
            **{f"{name}_difference": row.price.get(name) for name in COSTS},
            "published": row.comparison.published,
        }
        for row in table.rows
    ]


def effects_as_json(effects: GridEffects, metric: str) -> list[Row]:
    """One flat dictionary per effect of a grid, all with the same keys.

    `aliases` are the shares of other effects in the estimate, where the grid is incomplete.
    """
    return [
        {
            "group": effects.group,
            "effect": row.kind,
            "terms": row.name,
            "metric": metric,
            **_estimate_as_json(row.estimate),
            **{f"{name}_difference": row.price.get(name) for name in COSTS},
            "averaged_over": row.averaged[0],
            "of_complete_grid": row.averaged[1],
            "aliases": "; ".join(
                f"{' × '.join(terms)}: {share:.4g}" for terms, share in (row.aliases or {}).items()
            ),
        }
        for row in effects.rows
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
                    **_answer_as_json(found.answer),
                    "verdict": found.answer.verdict,
                    "conclusion": found.conclusion,
                    "published": found.statement.published,
                    "mmdetection": found.statement.mmdetection,
                }
                for found in result.statements
            ],
            "missing": [statement.contrast for statement in result.missing],
        }
        for result in results
    ]


def _study(report: Report) -> dict[str, object]:
    manifest, runs = report.study.manifest, report.study.runs
    return {
        "title": manifest.title,
        "question": manifest.question,
        "metric": manifest.metric,
        "metrics": [*report.table.metric_names],
        "compared_in": report.differences.metric,
        "lower_is_better": manifest.lower_is_better,
        "margin": manifest.margin,
        "maximum_seeds": manifest.maximum_seeds,
        "variance": manifest.variance,
        "looks": [*manifest.looks],
        "level": report.differences.level,
        "groups": [*report.groups.names],
        "runs_planned": len(runs),
        "runs_done": len(report.study.all_records()),
    }


def _grid_as_json(effects: GridEffects, metric: str) -> dict[str, object]:
    return {
        "group": effects.group,
        "cells": {**effects.grid.cells},
        "complete": effects.grid.complete,
        "missing": [" × ".join(terms) for terms in effects.missing],
        "rows": effects_as_json(effects, metric),
    }


def _diagnostics_as_json(found: Diagnostics) -> dict[str, object]:
    return {
        "sd": found.sd,
        "df": found.df,
        "cell_sd": {**found.cell_sd},
        "equal_variances_p": found.equal_variances_p,
        "variances_differ": found.variances_differ,
        "seed_correlation": found.seed_correlation,
    }


def _answer_as_json(found: Answer | None) -> Row:
    estimate = found.estimate if found else None
    adjusted = ("adjusted_p", "adjusted_p_equivalent", "further_seeds")
    return {
        **_estimate_as_json(estimate),
        "p_equivalent": estimate.p_equivalent if estimate else None,
        **{name: getattr(found, name, None) for name in adjusted},
    }


def _estimate_as_json(found: Estimate | None) -> Row:
    return {
        "mean": found.value if found else None,
        **{name: getattr(found, name, None) for name in _ESTIMATE},
    }
