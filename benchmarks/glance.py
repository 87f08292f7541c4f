"""A few term sets through all of the benchmarks: one line each, for who has to choose.

table([Outcome.from_json(text), ...])     ->  a Markdown table; empty where nothing is to be said
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.outcome import Outcome, Row

_TERMS = ("0010", "0011", "0110", "1000", "1111")


@dataclass(frozen=True)
class Number:
    """What is told of each term set, and in which row and column it stands."""

    title: str
    benchmark: str
    rows: dict[str, str]
    """The row, by columns; "{}" stands for the terms."""
    column: str
    kind: tuple[str, str] = ("cpu", "float32")

    def of(self, terms: str, outcomes: Sequence[Outcome]) -> str:
        """The number as it is shown; a dash if it was not measured."""
        wanted = {name: value.format(terms) for name, value in self.rows.items()}
        found: list[Row] = [
            row
            for outcome in outcomes
            if (outcome.benchmark, outcome.kind) == (self.benchmark, self.kind)
            for row in outcome.rows
            if wanted.items() <= row.items()
        ]
        return f"{found[0][self.column]:.3g}" if found else "-"


_ATTENTION = {"terms": "{}", "map": "64x64", "pass": "forward"}
NUMBERS = (
    Number("attention alone, CPU, / dense", "attention", _ATTENTION, "time / dense"),
    Number("/ SDPA", "attention", _ATTENTION, "time / SDPA"),
    Number(
        "ResNet-50, CPU, / plain",
        "networks",
        {"network": "ResNet-50 {}", "pass": "forward"},
        "time ratio",
    ),
    Number(
        "small detector trained, CPU, / plain",
        "networks",
        {"network": "detector {}", "pass": "training"},
        "time ratio",
    ),
    Number(
        "attention alone trained, GPU, / SDPA",
        "attention",
        {"terms": "{}", "map": "100x168", "pass": "training"},
        "time / SDPA",
        ("gpu", "bfloat16"),
    ),
)


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each term set: times, as ratios."""
    lines = [[terms, *(number.of(terms, outcomes) for number in NUMBERS)] for terms in _TERMS]
    if all(value == "-" for line in lines for value in line[1:]):
        return ""
    head = ["time of", *(number.title for number in NUMBERS)]
    rule = ["---", *("---:" for _ in NUMBERS)]
    return "".join(f"| {' | '.join(line)} |\n" for line in [head, rule, *lines])
