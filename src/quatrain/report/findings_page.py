"""The page of the paper's findings in the records of several studies, as Markdown.

It begins with one table of all conclusions. Its numbers come from the records, and its GPU hours
from the plans of studies that are not run. It is written as docs/findings.md of this repository:
its command and links are relative to the repository and to docs/.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import get_args

from quatrain.paper.findings import FINDINGS, Finding, Place
from quatrain.report.build import Report
from quatrain.report.columns import (
    ABSENT,
    Column,
    format_estimate,
    format_p,
    number_column,
    text_column,
)
from quatrain.report.findings import Conclusion, FindingResult, StatementResult
from quatrain.report.markdown import to_markdown
from quatrain.report.scale import Scale, scale_of
from quatrain.report.sentences import MARK_OF, MARKS
from quatrain.report.text import for_markdown, format_fixed, title_of
from quatrain.results.planning import MOST_SEEDS

Results = Sequence[tuple[str, FindingResult]]
"""Findings, each with the name of its study."""

FEWEST_CELLS = 3
"""Cells of one group, with a metric and counted multiply-adds, for which a study has a figure."""

CONCLUSIONS = (
    "A statement holds if its verdict is the expected one. An expected difference does not hold if "
    "another verdict is significant; an expected equivalence does not hold if the difference is "
    "significant and its interval lies outside the margin. The level is 5 %, or 5 % divided by the "
    "planned seeds where these have not all finished. A finding holds if all of its statements "
    "that have runs hold, and in part if some do; it does not hold if no statement holds and one "
    "does not. One least-squares fit of cells and seeds for each group, with one residual "
    "variance; intervals of 95 % by Student's t cover the variation between seeds, not the choice "
    "of test examples, and are not adjusted. The adjusted p of a statement that holds or does not "
    "hold is that of its verdict, a difference or equivalence within the margin; that of an "
    "inconclusive statement is for the expected verdict. All p-values of a group are adjusted "
    "together (Shaffer)."
)
MMDETECTION = (
    "mmdetection's: the same contrast in box AP of its own implementation of the paper's detector "
    "on COCO, one training for each mixer "
    "([source](https://github.com/open-mmlab/mmdetection/tree/main/configs/empirical_attention))."
)
BOX_AP = "Published values of detection are differences in box AP, also where ours are in AP50."
TRADE_OFF = (
    "One panel for each group of a study: means with 95 % intervals, and the front of cells that "
    "no other cell beats in both metric and executed multiply-adds. A percentage is the "
    "probability of a cell to be on the front "
    "([statistics.md](statistics.md#the-front-of-accuracy-against-cost))."
)
SCALE = (
    "A verdict is about networks, inputs and trainings of these sizes. It does not say whether a "
    "term has the same effect at the paper's."
)
PRECISION = (
    "Half-width: of the 95 % intervals of the statements; equivalence can be shown only where it "
    "is well below the margin. Settled: statements that hold or do not hold. More seeds: those "
    "with which a difference or equivalence is significant with a power of 80 %, if the "
    "differences are as estimated; a significant difference that may be within the margin leaves "
    "an expected equivalence inconclusive. Unknown: without an interval, where a difference is "
    "significant already, and for an expected equivalence whose estimate is not within the margin."
)
FULL_SCALE = (
    "Larger data, images and networks and longer trainings: the paper's settings are studies of "
    "this repository that are not run. The hours of all their runs on one GPU are those of "
    "`quatrain study plan`, not measured: arithmetic at {speed}. With one seed a difference has no "
    "interval, and each further seed takes the same hours again."
)


@dataclass(frozen=True)
class PlannedStudy:
    """A study that is not run."""

    file: str
    title: str
    scale: Scale | None
    runs: int
    seeds: int
    """Seeds of the cell that has most."""
    gpu_hours: float | None
    """Estimated hours of all runs on one GPU; None if those of any run are unknown."""


def findings_page(
    reports: Mapping[str, Report], planned: Sequence[PlannedStudy] = (), speed: str = ""
) -> str:
    """The paper's findings in the records of several studies.

    Args:
        reports: by the name of the study.
        planned: studies at full scale that are not run.
        speed: the assumed speed of a GPU in their hours.
    """
    results = [(name, result) for name, report in reports.items() for result in report.findings]
    with_findings = {name: report for name, report in reports.items() if report.findings}
    parts = ["# The paper's findings in our records\n", to_markdown(summary_columns(results))]
    parts.append(f"{CONCLUSIONS}\n")
    claims = [claim.statement for _, result in results for claim in result.statements]
    parts += [f"{MMDETECTION}\n"] if any(claim.mmdetection is not None for claim in claims) else []
    parts += [f"{BOX_AP}\n"] if any(map(_is_compared_with_box_ap, results)) else []
    parts.append(_source(planned))
    for finding in FINDINGS:
        parts.append(f"## {finding.number}. {finding.sentence}\n")
        found = [(name, result) for name, result in results if result.finding is finding]
        parts.append(to_markdown(finding_columns(found)) if found else "No finished runs yet.\n")
    parts += _figures(with_findings)
    if results:
        parts += ["## Limits of these scales\n", f"{SCALE}\n"]
        parts += [to_markdown(_scale_columns(_scales(with_findings))), f"{PRECISION}\n"]
        parts.append(to_markdown(precision_columns(results)))
    if planned:
        parts += ["## Planned studies at full scale\n", f"{FULL_SCALE.format(speed=speed)}\n"]
        parts.append(to_markdown(_planned_columns(planned)))
    return "\n".join([*parts, *_studies(reports, with_findings)])


def _is_compared_with_box_ap(named: tuple[str, FindingResult]) -> bool:
    """Whether values of AP50 are compared with published values."""
    _, result = named
    return result.metric == "ap50" and any(
        claim.statement.published is not None or claim.statement.mmdetection is not None
        for claim in result.statements
    )


def _source(planned: Sequence[PlannedStudy]) -> str:
    """The command that writes the page."""
    options = "".join(f" --planned {study.file}" for study in planned)
    return (
        "Generated from the records by "
        f"`quatrain findings --markdown $(dirname docs/results/*/study.json){options}`; "
        "[log/results.md](log/results.md) says how the runs were made.\n"
    )


def summary_columns(results: Results) -> list[Column]:
    """The conclusions of all studies: a row for each finding, a column for each place."""
    places: tuple[Place, ...] = get_args(Place)
    return [
        text_column("finding", [f"{f.number}. {f.sentence}" for f in FINDINGS]),
        *(text_column(at, [_summary(f, at, results) for f in FINDINGS]) for at in places),
    ]


def _summary(finding: Finding, place: Place, results: Results) -> str:
    """Each conclusion once, with its studies; with the group where those of a study differ.

    Where statements have no runs, the study has the number of those that have.
    """
    if not finding.at(place):
        return ABSENT
    own = [(n, r) for n, r in results if r.finding is finding and r.place == place]
    outcomes: dict[str, set[tuple[Conclusion, str]]] = {}
    for name, result in own:
        outcomes.setdefault(name, set()).add((result.conclusion, _coverage(result)))
    found: dict[Conclusion, dict[str, None]] = {}
    for name, result in own:
        label = name if len(outcomes[name]) == 1 else f"{name} {result.group}"
        found.setdefault(result.conclusion, {})[f"{label}{_coverage(result)}"] = None
    texts = (
        f"{MARKS[mark]} {conclusion} ({', '.join(found[conclusion])})"
        for conclusion, mark in MARK_OF.items()
        if conclusion in found
    )
    return "; ".join(texts) or "no runs"


def _coverage(result: FindingResult) -> str:
    """The number of statements with runs, where others have none: ": 1 of 2 statements"."""
    done = len(result.statements)
    return f": {done} of {done + len(result.missing)} statements" if result.missing else ""


def finding_columns(results: Results) -> list[Column]:
    """The statements of a finding in several studies; mmdetection's values where it has some."""
    rows = [(name, result, claim) for name, result in results for claim in result.statements]
    claims = [claim for _, _, claim in rows]
    expected = [
        f"equivalent within {result.margin:g}"
        if claim.statement.expected == "equivalent"
        else claim.statement.expected
        for _, result, claim in rows
    ]
    mmdetection = _values("mmdetection's", [claim.statement.mmdetection for claim in claims])
    return [
        text_column("place", [result.place for _, result, _ in rows]),
        text_column("study, group", [f"{name}, {result.group}" for name, result, _ in rows]),
        text_column("the paper says", [claim.statement.claim for claim in claims]),
        text_column("contrast", [claim.statement.contrast for claim in claims]),
        text_column("metric", [title_of(result.metric) for _, result, _ in rows]),
        _values("the paper's", [claim.statement.published for claim in claims]),
        *([mmdetection] if any(x is not None for x in mmdetection.values) else []),
        Column(
            "ours [95 %]",
            tuple(format_estimate(claim.answer.estimate, 2) for claim in claims),
            tuple(claim.answer.estimate.value for claim in claims),
            numeric=True,
        ),
        text_column("expected", expected),
        number_column(
            "adjusted p",
            [_p_of_statement(claim) for claim in claims],
            format_p,
        ),
        text_column("verdict", [claim.conclusion for claim in claims]),
    ]


def _values(header: str, values: Sequence[float | None]) -> Column:
    return number_column(header, values, lambda value: format_fixed(value, 2, "+"))


def _p_of_statement(found: StatementResult) -> float | None:
    """The adjusted p-value of the verdict, or of the expected one if inconclusive."""
    is_open = found.conclusion == "inconclusive"
    verdict = found.statement.expected if is_open else found.answer.verdict
    is_equivalence = verdict == "equivalent"
    return found.answer.adjusted_p_equivalent if is_equivalence else found.answer.adjusted_p


def precision_columns(results: Results) -> list[Column]:
    """Seeds, intervals and settled statements of each group."""
    groups: dict[tuple[str, str], FindingResult] = {}
    claims: dict[tuple[str, str], list[StatementResult]] = {}
    for name, result in results:
        groups.setdefault((name, result.group), result)
        claims.setdefault((name, result.group), []).extend(result.statements)
    own = list(claims.values())
    more_seeds = [_more_seeds(found, groups[key].margin) for key, found in claims.items()]
    settled = [sum(claim.conclusion != "inconclusive" for claim in found) for found in own]
    return [
        text_column("study, group", [", ".join(key) for key in groups]),
        text_column("metric", [title_of(groups[key].metric) for key in groups]),
        text_column("seeds", [_seeds(found) for found in own]),
        text_column("half-width", [_half_widths(found) for found in own]),
        number_column("margin", [groups[key].margin for key in groups], lambda x: f"{x:g}"),
        text_column("settled", [f"{n} of {len(f)}" for n, f in zip(settled, own, strict=True)]),
        text_column("more seeds for the others", more_seeds),
    ]


def _seeds(found: Sequence[StatementResult]) -> str:
    """The finished seeds of the planned ones: "2 of 3", or "1 to 2 of 3"."""
    done = [claim.progress.done for claim in found]
    planned = max(claim.progress.planned for claim in found)
    return f"{_range(f'{min(done)}', f'{max(done)}')} of {planned}"


def _half_widths(found: Sequence[StatementResult]) -> str:
    """The least and the largest half-width of an interval."""
    widths = [
        (estimate.high - estimate.low) / 2
        for estimate in (claim.answer.estimate for claim in found)
        if estimate.low is not None and estimate.high is not None
    ]
    if not widths:
        return "no interval"
    return _range(*(format_fixed(width, 2) for width in (min(widths), max(widths))))


def _more_seeds(found: Sequence[StatementResult], margin: float) -> str:
    """The seeds after which inconclusive contrasts are significant, and the number of these."""
    claims = [claim for claim in found if claim.conclusion == "inconclusive"]
    answers = [
        claim.answer
        for claim in claims
        if claim.answer.verdict == "inconclusive"
        and claim.answer.estimate.standard_error
        and (claim.statement.expected != "equivalent" or abs(claim.answer.estimate.value) < margin)
    ]
    known = [n for answer in answers if (n := answer.further_seeds) is not None]
    beyond, unknown = len(answers) - len(known), len(claims) - len(answers)
    texts = [f"{_range(f'{min(known)}', f'{max(known)}')} for {len(known)}"] if known else []
    texts += [f"over {MOST_SEEDS} for {beyond}"] if beyond else []
    texts += [f"unknown for {unknown}"] if unknown else []
    return ", ".join(texts) or ABSENT


def _range(least: str, largest: str) -> str:
    return least if least == largest else f"{least} to {largest}"


def _scales(reports: Mapping[str, Report]) -> list[tuple[str, str, Scale | None]]:
    """Each study with its runs, once for each scale of the groups with results for a finding."""
    rows: list[tuple[str, str, Scale | None]] = []
    for name, report in reports.items():
        full = report.full_study
        runs = f"{len(full.all_records())} of {len(full.runs)}"
        groups = dict.fromkeys(result.group for result in report.findings)
        specs = (next(iter(report.groups.specs(group).values())) for group in groups)
        rows += [(name, runs, scale) for scale in dict.fromkeys(map(scale_of, specs))]
    return rows


def _scale_columns(rows: Sequence[tuple[str, str, Scale | None]]) -> list[Column]:
    scales = [scale for _, _, scale in rows]
    return [
        text_column("study", [name for name, _, _ in rows]),
        text_column("runs", [runs for _, runs, _ in rows]),
        *(
            text_column(name, [getattr(scale, name) if scale else ABSENT for scale in scales])
            for name in (field.name for field in fields(Scale))
        ),
    ]


def _planned_columns(planned: Sequence[PlannedStudy]) -> list[Column]:
    rows = [(f"{study.title} ({study.file})", f"{study.runs:,}", study.scale) for study in planned]
    return [
        *_scale_columns(rows),
        text_column("seeds", [f"{study.seeds}" for study in planned]),
        number_column("GPU hours", [study.gpu_hours for study in planned], lambda x: f"{x:,.0f}"),
    ]


def _figures(reports: Mapping[str, Report]) -> list[str]:
    """The figures of accuracy against cost, which are files of the reports."""
    parts: list[str] = []
    for name, report in reports.items():
        counted = [
            row.group
            for row in report.table.rows
            if row.metrics and row.quantities["multiply_adds"] is not None
        ]
        if any(counted.count(group) >= FEWEST_CELLS for group in counted):
            title, metric = for_markdown(report.table.title), title_of(report.table.metric)
            path = f"results/{name}/report/accuracy_cost.svg"
            parts += [f"### {title}\n", f"![{metric} against multiply-adds: {title}]({path})\n"]
    return [f"## Accuracy against executed multiply-adds\n\n{TRADE_OFF}\n", *parts] if parts else []


def _studies(reports: Mapping[str, Report], with_findings: Mapping[str, Report]) -> list[str]:
    """Links to the reports, with the notes of those with results for a finding."""
    links = {
        name: f"[{for_markdown(report.table.title)}](results/{name}/report/report.md), `{name}`"
        for name, report in reports.items()
    }
    parts = ["## Studies\n"]
    for name, report in with_findings.items():
        texts = (for_markdown(note.text, block=True) for note in report.table.notes)
        parts.append("".join([f"- {links[name]}\n", *(f"  - {text}\n" for text in texts)]))
    others = [link for name, link in links.items() if name not in with_findings]
    if others:
        parts += ["Studies of other questions:\n", "".join(f"- {link}\n" for link in others)]
    return parts
