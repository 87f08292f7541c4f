"""The paper's findings in the records of a study: which hold, which do not, which stay open.

The cells of a group are recognized by their specs: one place of the network has different mixers,
and all else is equal.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from quatrain.paper.findings import FINDINGS, Finding, Place, Statement
from quatrain.report.groups import Groups
from quatrain.report.levels import Levels, Progress
from quatrain.report.runs import StudyRuns
from quatrain.results.answers import Answer, answer
from quatrain.results.fit import Fit
from quatrain.specs.notation import mixer_text, mixers_in

Conclusion = Literal["holds", "holds in part", "does not hold", "inconclusive"]
MARGINS: Mapping[str, float] = {"bleu": 0.5, "miou": 0.5, "ap": 0.5, "ap50": 1.0}
"""The margins of equivalence of metrics in percent, for studies that declare none."""


@dataclass(frozen=True)
class StatementResult:
    """A statement of the paper with the answer of a group's records."""

    statement: Statement
    answer: Answer
    conclusion: Conclusion
    progress: Progress


@dataclass(frozen=True)
class FindingResult:
    """A finding at one place of a network, in one group of a study."""

    finding: Finding
    place: Place
    group: str
    metric: str
    margin: float
    statements: tuple[StatementResult, ...]
    """Those whose cells have finished runs."""
    missing: tuple[Statement, ...]
    """Those whose cells have no runs, or no common seeds."""

    @property
    def conclusion(self) -> Conclusion:
        """Holds if all statements hold, does not hold if none does and one is contradicted."""
        conclusions = {found.conclusion for found in self.statements}
        if "holds" in conclusions:
            return "holds" if len(conclusions) == 1 else "holds in part"
        return "does not hold" if "does not hold" in conclusions else "inconclusive"


def find_findings(study: StudyRuns, groups: Groups) -> list[FindingResult]:
    """The paper's findings for which finished runs have results, by finding and group.

    Raises:
        StudyError: if a record lacks the metric of the comparisons.
    """
    metric = study.manifest.compared_in or study.manifest.metric
    margin = study.manifest.margin or MARGINS.get(metric, 1.0)
    found: list[FindingResult] = []
    levels = Levels(study)
    for group in groups.names:
        fitted = groups.fit(group, metric)
        if fitted is None:
            continue
        place, cells = cells_by_mixer(groups.specs(group))
        if place is not None:
            results = _judge(group, place, margin, fitted, cells, levels)
            found += [
                FindingResult(finding, place, group, metric, margin, own, missing)
                for finding, own, missing in _by_finding(place, results)
            ]
    return sorted(found, key=lambda result: result.finding.number)


def cells_by_mixer(specs: Mapping[str, Mapping[str, Any]]) -> tuple[Place | None, dict[str, str]]:
    """The place of a network at which the cells of a group differ, and the cells by their mixer.

    None if they differ elsewhere, or at no place that the paper studied.
    """
    mixers = {cell: mixers_in(spec) for cell, spec in specs.items()}
    paths = sorted({path for found in mixers.values() for path in found})
    texts = {
        cell: {path: mixer_text(found.get(path)) for path in paths}
        for cell, found in mixers.items()
    }
    varying = [path for path in paths if len({text[path] for text in texts.values()}) > 1]
    cells: dict[str, str] = {}
    for cell, text in texts.items():
        if len({text[path] for path in varying}) == 1:
            cells.setdefault(text[varying[0]], cell)
    place = _place(next(iter(specs.values()), {}).get("kind"), varying)
    return place, cells if place is not None else {}


def _place(kind: object, varying: list[str]) -> Place | None:
    names = {path.rpartition(".")[2] for path in varying}
    if kind == "translation" and names == {"cross"}:
        return "encoder-decoder attention"
    if kind == "translation" and names == {"encoder_self", "decoder_self"}:
        return "self-attention"
    if kind == "detection" and names in ({"mixer"}, {"pyramid_mixer"}):
        return "detection"
    return "segmentation" if kind == "segmentation" and names == {"mixer"} else None


def _judge(
    group: str, place: Place, margin: float, fitted: Fit, cells: Mapping[str, str], levels: Levels
) -> list[StatementResult]:
    """The statements about a place whose cells have finished runs: one family of tests."""
    cells = {**cells, **{f"w/o+{mixer}": cell for mixer, cell in cells.items()}}
    statements = [
        statement
        for finding in FINDINGS
        for statement in finding.at(place)
        if statement.weights.keys() <= cells.keys()
        and fitted.can_estimate({cells[mixer]: w for mixer, w in statement.weights.items()})
    ]
    contrasts = [
        {cells[mixer]: weight for mixer, weight in statement.weights.items()}
        for statement in statements
    ]
    answers = answer(
        [(fitted, weights) for weights in contrasts],
        margin,
        levels.complete,
        [levels.of(group, weights) for weights in contrasts],
    )
    return [
        StatementResult(
            statement,
            found,
            conclusion_of(statement, found, margin),
            levels.progress(group, weights),
        )
        for statement, found, weights in zip(statements, answers, contrasts, strict=True)
    ]


def _by_finding(
    place: Place, results: Sequence[StatementResult]
) -> Iterator[tuple[Finding, tuple[StatementResult, ...], tuple[Statement, ...]]]:
    """Each finding with some results, and its statements about the place without one."""
    for finding in FINDINGS:
        own = tuple(found for found in results if found.statement in finding.statements)
        judged = [found.statement for found in own]
        if own:
            missing = tuple(other for other in finding.at(place) if other not in judged)
            yield finding, own, missing


def conclusion_of(statement: Statement, found: Answer, margin: float) -> Conclusion:
    """Whether a statement holds, does not, or stays open."""
    if found.verdict == statement.expected:
        return "holds"
    if found.verdict == "inconclusive":
        return "inconclusive"
    if statement.expected != "equivalent":
        return "does not hold"
    low, high = found.estimate.low, found.estimate.high
    outside = low is not None and high is not None and (low > margin or high < -margin)
    return "does not hold" if outside else "inconclusive"
