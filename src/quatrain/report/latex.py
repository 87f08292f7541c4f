r"""A report as a LaTeX document: a table of cells for each group, the differences, and a note.

The document compiles with pdflatex and bibtex next to `references.bib`; its tables can be copied
into a paper that uses booktabs, longtable and the encoding T1.

    \textbf{33.60 \textpm{} 2.09}         the best cell of the group
    \underline{33.39 \textpm{} 3.73}      tied with it
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from quatrain.report.build import Report
from quatrain.report.columns import (
    UNITS,
    Column,
    cell_columns,
    difference_columns,
    number_column,
    text_column,
)
from quatrain.report.methods import methods_of
from quatrain.report.ranking import Mark, judged_metrics, mark_best
from quatrain.report.sentences import not_run_sentence
from quatrain.report.text import for_latex, title_of
from quatrain.results import pluralize

FURTHER_METRICS = 4
"""Metrics in the table of cells after the primary one; the others are in report.csv."""

_PREAMBLE = r"""% Written by quatrain. Compile with pdflatex, bibtex, and pdflatex twice.
\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage[utf8]{inputenc}
\usepackage{textcomp}
\IfFileExists{lmodern.sty}{\usepackage{lmodern}}{}
\usepackage[margin=2cm]{geometry}
\usepackage{booktabs}
\usepackage{longtable}
% A character that the fonts lack, by its number; redefine it for XeLaTeX or LuaLaTeX.
\providecommand{\uchar}[1]{\texttt{U+#1}}
\begin{document}
"""
_END = "\\end{document}\n"
_STYLES: Mapping[Mark, str] = {"best": r"\textbf{%s}", "tied": r"\underline{%s}", "": "%s"}


def latex_document(report: Report) -> str:
    """The whole document."""
    table = report.table
    head = f"\\section*{{{for_latex(table.title)}}}\n{for_latex(table.question)}\n"
    return "\n".join([_PREAMBLE, head, *_cells(report), *_differences(report), _note(report), _END])


def _cells(report: Report) -> list[str]:
    """A table for each group, of the cells that have finished runs."""
    columns = _shown(report)
    marks: dict[int, list[Mark]] = {
        number: mark_best(report, name)
        for number, column in enumerate(columns)
        for name in judged_metrics(report)
        if column.header == title_of(name)
    }
    places = {
        group: [n for n, row in enumerate(report.table.rows) if row.group == group]
        for group in dict.fromkeys(row.group for row in report.table.rows if row.seeds_done)
    }
    tables: list[str] = []
    for number, (group, rows) in enumerate(places.items(), 1):
        done = [place for place in rows if report.table.rows[place].seeds_done]
        own_marks: dict[int, list[Mark]] = {
            column: [found[row] for row in done] for column, found in marks.items()
        }
        columns_of_group = [column.at(done) for column in columns]
        caption, label = f"Group {group}.", f"tab:cells-{number}"
        tables.append(_table(columns_of_group, caption, label, own_marks))
    return tables


def _differences(report: Report) -> list[str]:
    """A table for each group, of the comparisons that are run."""
    table = report.differences
    rows = tuple(row for row in table.rows if row.answer is not None)
    further = [row.answer.further_seeds if row.answer else None for row in rows]
    columns: list[Column] = []
    for column in difference_columns(replace(table, rows=rows))[1:]:
        if column.header == "verdict":
            columns.append(text_column("verdict", [row.outcome for row in rows]))
            columns.append(number_column("more seeds", further, str))
        else:
            columns.append(column)
    groups = [row.comparison.group for row in rows]
    tables: list[str] = []
    for number, group in enumerate(dict.fromkeys(groups), 1):
        places = [n for n, of in enumerate(groups) if of == group]
        own = [column.at(places) for column in columns]
        caption = f"Differences in {title_of(table.metric)}, group {group}."
        tables.append(_table(own, caption, f"tab:differences-{number}"))
    return tables


def _shown(report: Report) -> list[Column]:
    """The cell, its primary metric, some further metrics, seeds and multiply-adds."""
    names = report.table.metric_names[: 1 + FURTHER_METRICS]
    counts = ("multiply_adds", "paper_multiply_adds")
    units = {header for name in counts for _, header in UNITS[name]}
    shown = {"cell", "seeds", *units, *map(title_of, (*names, *judged_metrics(report)))}
    return [column for column in cell_columns(report.table) if column.header in shown]


def _table(
    columns: Sequence[Column],
    caption: str,
    label: str,
    marks: Mapping[int, Sequence[Mark]] | None = None,
) -> str:
    """A longtable, whose head is repeated on each page."""
    alignment = "".join("r" if column.numeric else "l" for column in columns)
    cells = [_texts(column, (marks or {}).get(n)) for n, column in enumerate(columns)]
    headers = " & ".join(for_latex(column.header) for column in columns)
    head = f"  \\toprule\n  {headers} \\\\\n  \\midrule\n"
    rows = "".join(f"  {' & '.join(row)} \\\\\n" for row in zip(*cells, strict=True))
    return (
        f"{{\\footnotesize\\setlength{{\\tabcolsep}}{{4pt}}\n\\begin{{longtable}}{{{alignment}}}\n"
        f"  \\caption{{{for_latex(caption)}}}\\label{{{label}}} \\\\\n"
        f"{head}  \\endfirsthead\n{head}  \\endhead\n  \\bottomrule\n  \\endfoot\n"
        f"{rows}\\end{{longtable}}}}\n"
    )


def _texts(column: Column, marks: Sequence[Mark] | None) -> list[str]:
    """The cells of a column; a number has a minus sign."""
    texts = [text.replace("-", "−") if column.numeric else text for text in column.texts]
    styles = [_STYLES[mark] for mark in marks] if marks else ["%s"] * len(texts)
    return [style % for_latex(text) for text, style in zip(texts, styles, strict=True)]


def _note(report: Report) -> str:
    """What the numbers are: marks, intervals, methods and their sources."""
    better = report.study.manifest.better
    best = [
        f"{'highest' if better(name) > 0 else 'lowest'} {title_of(name)}"
        for name in judged_metrics(report)
    ]
    sentences = [
        for_latex(
            "Cells have the mean over seeds, with half the width of its interval. "
            f"Bold: the {' and the '.join(best)} of a group; underlined: the interval of the "
            "difference to it contains zero. Multiply-adds are counted for one example."
        )
    ]
    absent = sum(not row.seeds_done for row in report.table.rows)
    if absent:
        sentences.append(f"{pluralize(absent, 'cell')} without a finished run: not shown.")
    if (not_run := not_run_sentence(report.differences)) is not None:
        sentences.append(for_latex(not_run))
    left_out = len(report.table.metric_names) - 1 - FURTHER_METRICS
    if left_out > 0:
        sentences.append(for_latex(f"report.csv has {pluralize(left_out, 'more metric')}."))
    methods = methods_of(report)
    for method in methods:
        cited = f"~\\cite{{{','.join(method.references)}}}" if method.references else ""
        text = for_latex(method.text)
        sentences.append(f"{text[:-1]}{cited}." if cited else text)
    lines = "\n".join(sentences)
    note = f"\\paragraph{{Numbers, intervals and methods.}}\n{lines}\n"
    if any(method.references for method in methods):
        note += "\n\\bibliographystyle{plain}\n\\bibliography{references}\n"
    return note
