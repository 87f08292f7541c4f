"""The first section of a page: the paper's findings and the study's comparisons, with verdicts."""

import re
from collections import Counter
from dataclasses import dataclass

from quatrain.report.build import Report
from quatrain.report.findings import FindingResult
from quatrain.report.page.strips import glyph
from quatrain.report.sentences import (
    Sentence,
    difference_sentence,
    finding_sentences,
    not_run_sentence,
)
from quatrain.results import pluralize
from quatrain.specs.extras import name_missing_extra

with name_missing_extra():
    from markupsafe import Markup

_NUMBER = re.compile(r"(?<=[\[ ])-(?=\d[\d,]*\.\d\d)")


@dataclass(frozen=True)
class Line:
    """A sentence with the shape of its verdict."""

    shape: str
    """The key of `strips.GLYPHS`, which is also a class of the style sheet."""
    word: str
    text: str

    @property
    def mark(self) -> Markup:
        """The shape as SVG."""
        return glyph(self.shape)


@dataclass(frozen=True)
class FindingLines:
    """A finding of the paper: its sentence, and each place with its statements."""

    number: int
    sentence: str
    places: tuple[tuple[str, Line, tuple[Line, ...]], ...]


@dataclass(frozen=True)
class Found:
    """The sentences of a page, by section."""

    summary: str
    findings: tuple[FindingLines, ...]
    settled: dict[str, list[Line]]
    """Comparisons with a verdict, by group."""
    inconclusive: dict[str, list[Line]]
    """Comparisons without a verdict, with the seeds that would settle them, by group."""
    not_run: str
    """One sentence about all comparisons that are not run."""


def build_found(report: Report) -> Found:
    """The sentences of a report's first section."""
    table = report.differences
    settled: dict[str, list[Line]] = {}
    inconclusive: dict[str, list[Line]] = {}
    absent = 0
    outcomes: Counter[str] = Counter()
    for row in table.rows:
        group = row.comparison.group
        if row.answer is None:
            absent += 1
            continue
        outcomes[row.outcome] += 1
        is_open = row.outcome in {"inconclusive", "one seed"}
        line = _line(difference_sentence(row, table), "open" if is_open else row.outcome)
        (inconclusive if is_open else settled).setdefault(group, []).append(line)
    return Found(
        _summary(outcomes, len(table.rows), absent),
        _findings(report.findings),
        settled,
        inconclusive,
        not_run_sentence(table) or "",
    )


def _line(sentence: Sentence, shape: str) -> Line:
    return Line(shape, sentence.word, _NUMBER.sub("−", sentence.text))


def _findings(results: list[FindingResult]) -> tuple[FindingLines, ...]:
    found: dict[int, FindingLines] = {}
    for result in results:
        head, *statements = finding_sentences(result)
        lines = tuple(_line(statement, statement.mark) for statement in statements)
        place = head.group, _line(head, head.mark), lines
        number = result.finding.number
        before = found[number].places if number in found else ()
        found[number] = FindingLines(number, head.text, (*before, place))
    return tuple(found.values())


def _summary(outcomes: Counter[str], declared: int, absent: int) -> str:
    if not declared:
        return "The study declares no comparison."
    if not outcomes:
        return f"None of {pluralize(declared, 'comparison')} can be judged yet."
    words = {"one seed": "with one seed"}
    parts = ", ".join(f"{n} {words.get(outcome, outcome)}" for outcome, n in outcomes.most_common())
    rest = f"; {absent} not run" if absent else ""
    return f"{declared - absent} of {pluralize(declared, 'declared comparison')}: {parts}{rest}."
