"""The summary table of docs/performance.md: a few term sets across all benchmarks.

table([Result.from_json(text), ...])     ->  a Markdown table; "" without any number
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.result import Result

_TERMS = ("0010", "0011", "0110", "1000", "1111")


@dataclass(frozen=True)
class Column:
    """A column of the summary: one number of one benchmark for each term set."""

    title: str
    benchmark: str
    row: dict[str, str]
    """The values that select the row; "{}" is replaced by the terms."""
    number: str
    """The name of the number in that row."""
    setting: tuple[str, str] = ("cpu", "float32")

    def cell(self, terms: str, results: Sequence[Result]) -> str:
        """The ratio as text; a dash if it was not measured."""
        selector = {name: value.format(terms) for name, value in self.row.items()}
        numbers = [
            float(row[self.number])
            for result in results
            if (result.benchmark, result.setting) == (self.benchmark, self.setting)
            for row in result.rows
            if selector.items() <= row.items()
        ]
        return _format(numbers[0]) if numbers else "-"


_ATTENTION = {"terms": "{}", "map": "64x64", "pass": "forward"}
COLUMNS = (
    Column("attention, CPU: ours / dense", "attention", _ATTENTION, "time / dense"),
    Column("attention, CPU: ours / SDPA", "attention", _ATTENTION, "time / SDPA"),
    Column(
        "ResNet-50, CPU: ours / plain",
        "networks",
        {"network": "ResNet-50 {}", "pass": "forward"},
        "time ratio",
    ),
    Column(
        "small detector, training, CPU: ours / plain",
        "networks",
        {"network": "detector {}", "pass": "training"},
        "time ratio",
    ),
    Column(
        "attention, training, GPU: ours / SDPA",
        "attention",
        {"terms": "{}", "map": "100x168", "pass": "training"},
        "time / SDPA",
        ("gpu", "bfloat16"),
    ),
)


def table(results: Sequence[Result]) -> str:
    """One row of time ratios for each term set."""
    rows = [[terms, *(column.cell(terms, results) for column in COLUMNS)] for terms in _TERMS]
    if all(cell == "-" for row in rows for cell in row[1:]):
        return ""
    head = ["time with", *(column.title for column in COLUMNS)]
    rule = ["---", *("---:" for _ in COLUMNS)]
    return "".join(f"| {' | '.join(row)} |\n" for row in [head, rule, *rows])


def _format(ratio: float) -> str:
    """Two decimals; "1/536" below 0.1."""
    return f"1/{1 / ratio:.0f}" if ratio < 0.1 else f"{ratio:.2f}"
