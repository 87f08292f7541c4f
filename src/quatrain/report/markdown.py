"""The Markdown page of a report."""

from collections.abc import Sequence

from quatrain.report.build import Report
from quatrain.report.columns import (
    MATRIX_LEGEND,
    Column,
    cell_columns,
    difference_columns,
    effect_columns,
    matrix_columns,
    reason_columns,
    validation_columns,
)
from quatrain.report.legend import verdict_legend
from quatrain.report.notes import notes_by_kind
from quatrain.report.sentences import (
    MARKS,
    Sentence,
    difference_sentence,
    finding_sentences,
    not_run_sentence,
)
from quatrain.report.text import for_markdown


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
    """A report as Markdown: what it found, tables, effects, notes and expectations."""
    table, matrix = report.table, report.matrix
    parts = [f"# {for_markdown(table.title)}\n", f"{for_markdown(table.question, block=True)}\n"]
    parts += _found(report)
    parts.append("## Cells\n")
    if matrix is not None:
        parts += [to_markdown(matrix_columns(matrix)), f"{MATRIX_LEGEND}\n"]
    parts.append(to_markdown(cell_columns(table)))
    parts.append("Mean ± half the 95 % interval over seeds (Student's t).\n")
    parts += _differences(report)
    parts += _effects(report)
    validation = validation_columns(report.curves, table.metric)
    if validation:
        parts += ["## Validation during training\n", to_markdown(validation)]
    if table.notes:
        parts.append("## Notes\n")
    for kind, texts in notes_by_kind(table.notes).items():
        listed = (f"- {for_markdown(text, block=True)}\n" for text in texts)
        parts += [f"**{kind}**\n", "".join(listed)]
    if table.has_expectations:
        parts += ["## Expectations\n", to_markdown(reason_columns(table))]
    return "\n".join(parts)


def _found(report: Report) -> list[str]:
    """The comparisons of the study, then the paper's findings, each with a mark and a verdict."""
    table = report.differences
    lines = [
        _line(sentence, f"{sentence.group}: {sentence.text}")
        for row in table.rows
        if row.answer is not None
        for sentence in (difference_sentence(row, table),)
    ]
    if (not_run := not_run_sentence(table)) is not None:
        lines.append(f"- {for_markdown(not_run, block=True)}\n")
    paper: list[str] = []
    for result in report.findings:
        first, *statements = finding_sentences(result)
        paper.append(_line(first, f"{result.finding.number}. {first.text} ({first.group})"))
        paper += [f"  {_line(statement, statement.text)}" for statement in statements]
    if not lines and not paper:
        lines = ["The study declares no comparison.\n"]
    parts = ["## What it found\n", *(["".join(lines)] if lines else [])]
    return [*parts, "The paper's findings:\n", "".join(paper)] if paper else parts


def _line(sentence: Sentence, text: str) -> str:
    return f"- {MARKS[sentence.mark]} **{for_markdown(sentence.word)}** · {for_markdown(text)}\n"


def _differences(report: Report) -> list[str]:
    table = report.differences
    if not table.rows:
        return []
    parts = ["## Differences\n", to_markdown(difference_columns(table))]
    parts.append(f"{verdict_legend(table)}\n")
    if table.has_published:
        parts.append("Published: the difference reported by others, in their own setting.\n")
    return parts


def _effects(report: Report) -> list[str]:
    """The effects of terms, and the effects that an incomplete grid cannot tell."""
    if not any(grid.rows for grid in report.effects):
        return []
    parts = ["## Effects of terms\n"]
    parts.append(to_markdown(effect_columns(report.effects, report.differences.metric)))
    parts.append(f"{EFFECTS_LEGEND}\n")
    for effects in report.effects:
        if effects.grid.complete:
            continue
        missing = ", ".join(" × ".join(terms) for terms in effects.missing) or "none"
        group, cells = for_markdown(effects.group, block=True), len(effects.grid.cells)
        parts.append(
            f"{group}: {cells} of 16 term sets have finished runs. An effect is averaged over the "
            f"{'half fraction' if effects.grid.is_fraction else 'complete pairs of cells'} and "
            "contains a part of other effects, which effects.csv names as aliases; effects without "
            f"a complete pair: {missing}.\n"
        )
    return parts


EFFECTS_LEGEND = (
    "Main effect: mean of the cells with a term minus mean of those without. Interaction: half of "
    "the effect of one term with the other minus half of its effect without. Shapley share: mean "
    "gain by adding a term over all orders; the four shares sum to 1111 − 0000. p-values are not "
    "adjusted. Multiply-adds: the same contrast of the counted cost."
)
