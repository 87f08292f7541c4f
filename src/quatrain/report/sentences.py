"""What a study found, one sentence for each comparison and each finding of the paper."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from quatrain.paper.findings import Statement
from quatrain.report.columns import (
    format_estimate,
    format_interval,
    format_p,
)
from quatrain.report.differences import DifferenceRow, DifferenceTable
from quatrain.report.findings import Conclusion, FindingResult
from quatrain.report.levels import Progress
from quatrain.report.text import format_fixed, title_of
from quatrain.results import pluralize
from quatrain.results.answers import Answer

Mark = Literal["yes", "part", "no", "open"]
"""Whether a claim holds: shown as a word, a shape and a colour."""

MARKS: dict[Mark, str] = {"yes": "✓", "part": "◐", "no": "✗", "open": "?"}

MARK_OF: dict[Conclusion, Mark] = {
    "holds": "yes",
    "holds in part": "part",
    "does not hold": "no",
    "inconclusive": "open",
}


@dataclass(frozen=True)
class Sentence:
    """A sentence of a report's first section."""

    mark: Mark
    word: str
    """The verdict in one or two words."""
    text: str
    group: str


def difference_sentence(row: DifferenceRow, table: DifferenceTable) -> Sentence:
    """What a comparison says."""
    comparison, outcome = row.comparison, row.outcome
    metric, unit = title_of(table.metric), comparison.group
    if row.answer is None:
        text = f"{row.name}: not run in a common seed yet."
        return Sentence("open", outcome, text, unit)
    places = table.places
    numbers = _numbers(row.answer, places)
    if row.over_test_examples is not None:
        bounds = format_interval(row.over_test_examples, places)
        numbers += f", over test {table.examples} {bounds}"
    numbers += _planned(row.progress)
    published = (
        f"; published {format_fixed(comparison.published, 2, '+')}"
        if comparison.published is not None
        else ""
    )
    left, right = comparison.left, comparison.right
    if outcome == "equivalent":
        text = f"{left} and {right} are equivalent within {table.margin:g} {metric}: {numbers}"
    elif outcome in {"higher", "lower"}:
        text = f"{left} has a {outcome} {metric} than {right}: {numbers}"
    else:
        text = f"{left} − {right} in {metric} is inconclusive: {numbers}{_seeds(row.answer)}"
    mark = "open" if outcome in {"inconclusive", "one seed"} else "yes"
    word: str = outcome
    if row.as_expected is not None:
        mark = "yes" if row.as_expected else "no"
        word = f"{outcome}, as predicted" if row.as_expected else f"{outcome}, not as predicted"
    return Sentence(mark, word, f"{text}{published}.", unit)


def not_run_sentence(table: DifferenceTable) -> str | None:
    """One sentence about all comparisons that are not run; None if there are none.

    Example: 3 comparisons are not run in a common seed yet: self (2), cross (1).
    """
    absent = Counter(row.comparison.group for row in table.rows if row.answer is None)
    if not absent:
        return None
    groups = ", ".join(f"{group} ({times})" for group, times in absent.items())
    verb = "is" if absent.total() == 1 else "are"
    return (
        f"{pluralize(absent.total(), 'comparison')} {verb} not run in a common seed yet: {groups}."
    )


def finding_sentences(result: FindingResult) -> list[Sentence]:
    """The finding of the paper, then its statements with their numbers."""
    place = f"{result.place}, {result.group}"
    sentences = [
        Sentence(MARK_OF[result.conclusion], result.conclusion, result.finding.sentence, place)
    ]
    metric = title_of(result.metric)
    for found in result.statements:
        statement = found.statement
        expected = f"expected {statement.expected}"
        if statement.expected == "equivalent":
            expected += f" within {result.margin:g}"
        numbers = f"{_numbers(found.answer, 2, statement.expected)}, {expected}"
        numbers += f"{_planned(found.progress)}{_seeds(found.answer)}{_elsewhere(statement)}"
        claim = f"{statement.claim[0].upper()}{statement.claim[1:]}"
        text = f"{claim}: {statement.contrast} in {metric} is {numbers}."
        sentences.append(Sentence(MARK_OF[found.conclusion], found.conclusion, text, place))
    return sentences


def _numbers(found: Answer, places: int, claim: str | None = None) -> str:
    """The estimate, and the p-value of the verdict or of the claim."""
    equivalent = "equivalent" in {found.verdict, claim if found.verdict == "inconclusive" else None}
    p = found.adjusted_p_equivalent if equivalent else found.adjusted_p
    test = f", p {format_p(p) if p < 0.001 else f'= {p:.3f}'}" if p is not None else ""
    return f"{format_estimate(found.estimate, places)}{test}"


def _elsewhere(statement: Statement) -> str:
    """The values of the paper and of mmdetection."""
    values = {"the paper": statement.published, "mmdetection": statement.mmdetection}
    known = [f"{name} {format_fixed(x, 2, '+')}" for name, x in values.items() if x is not None]
    return f"; {', '.join(known)}" if known else ""


def _planned(progress: Progress) -> str:
    """The finished seeds, as long as others are planned."""
    if progress.is_complete:
        return ""
    return f", {progress.done} of {progress.planned} seeds"


def _seeds(found: Answer) -> str:
    if found.further_seeds is None:
        return ""
    return f"; about {pluralize(found.further_seeds, 'more seed')} would settle it"
