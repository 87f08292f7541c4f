"""What the benchmarks were to reach, and the worst that they measured.

table([Outcome.from_json(text), ...])     ->  a Markdown table; empty where nothing is to be said
"""

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.outcome import Outcome, Row

_WITHOUT_E1 = ("0100", "0101", "0110", "0111")
_WITH_E1 = ("1001", "1011", "1100", "1101", "1110", "1111")
_SPEED = "speed of ours / its own"
_MAP = {"map": "64x64"}


@dataclass(frozen=True)
class Target:
    """A bound for the worst number of a column, over the rows that have one of these values."""

    benchmark: str
    rows: dict[str, str | tuple[str, ...]]
    column: str
    bound: float
    is_least: bool = False
    kind: tuple[str, str] = ("cpu", "float32")
    why: str = ""
    """What is known of the reason, where it was not reached."""

    def measured(self, outcomes: Sequence[Outcome]) -> float | None:
        """The worst of them; None if there is none."""
        alike = [each for each in outcomes if (each.benchmark, each.kind) == self._source]
        found = [
            float(row[self.column])
            for outcome in alike
            for row in outcome.rows
            if self._has(row) and not isinstance(row.get(self.column, ""), str)
        ]
        return (min if self.is_least else max)(found) if found else None

    def reached_by(self, value: float) -> bool:
        """Whether the worst is within the bound."""
        return value >= self.bound if self.is_least else value <= self.bound

    @property
    def _source(self) -> tuple[str, tuple[str, str]]:
        return self.benchmark, self.kind

    def _has(self, row: Row) -> bool:
        wanted = self.rows.items()
        return all(row.get(name) in ((x,) if isinstance(x, str) else x) for name, x in wanted)


def _on_map(
    terms: tuple[str, ...], column: str, forward: float, training: float, why: str = ""
) -> list[Target]:
    bounds = {"forward": forward, "training": training}
    return [
        Target("attention", {**_MAP, "terms": terms, "pass": name}, column, bound, why=why)
        for name, bound in bounds.items()
    ]


def _on_gpu(terms: tuple[str, ...], bound: float, why: str = "") -> Target:
    rows = {"map": "100x168", "terms": terms, "pass": "training"}
    return Target("attention", rows, "time / SDPA", bound, kind=("gpu", "bfloat16"), why=why)


TARGETS = (
    *_on_map(("0010",), "time / dense", 1 / 30, 1 / 30),
    *_on_map(("0010",), "memory / dense", 1 / 30, 1 / 30),
    *_on_map(("0001", "0011"), "time / dense", 1 / 25, 1 / 12),
    *_on_map(("0001", "0011"), "memory / dense", 1 / 30, 1 / 30),
    *_on_map(_WITHOUT_E1, "time / dense", 1 / 2.5, 1 / 1.5),
    *_on_map(_WITHOUT_E1, "memory / dense", 1 / 8, 1 / 8),
    *_on_map(("1000", "1010"), "time / SDPA", 1.1, 1.1),
    *_on_map(("1000", "1010"), "memory / SDPA", 1.2, 1.2),
    *_on_map(
        _WITH_E1,
        "time / dense",
        1 / 1.8,
        1 / 1.3,
        "on a processor of 2017 on which matrix products take most of the time, where ours, which "
        "makes its weights again, has seven for a training step and dense, which keeps them, has "
        "six; another machine reached 0.295 and 0.756, with the code before "
        "([what was tried](decisions/0007-a-method-for-each-structure.md))",
    ),
    Target("attention", {**_MAP, "terms": _WITH_E1, "pass": "forward"}, "time / SDPA", 2.2),
    *_on_map(_WITH_E1, "memory / dense", 1 / 8, 1 / 8),
    _on_gpu(
        (*_WITHOUT_E1, *_WITH_E1),
        1.5,
        "as graphs, where nothing waits to be launched, below it; on an H200 it was 1.498; all of "
        "it before tables and sums became one operator, which no GPU has timed "
        "([what was tried](decisions/0007-a-method-for-each-structure.md))",
    ),
    _on_gpu(
        ("0001", "0011"),
        0.1,
        "called from Python, their short kernels wait to be launched; the column "
        '"as graphs / SDPA" is without that, and above 0.1 too; measured when a step started 38 '
        "and 55 of them, where it starts 26 and 31 now "
        "([what was tried](decisions/0007-a-method-for-each-structure.md))",
    ),
    Target(
        "sequences",
        {},
        "memory growth",
        2.1,
        why="the worst is 0000 both ways, whose peaks are of a few MiB",
    ),
    Target("sequences", {"terms": "0010", "order": "causal"}, "time growth", 2.5),
    Target("steps", {"terms": ("0010", "0001", "0011")}, "late / early", 1.1),
    Target("networks", {"network": ("detector w/o", "segmenter w/o")}, "time ratio", 1.03),
    Target("translator", {"network": "torch.nn.Transformer"}, _SPEED, 0.9, is_least=True),
    Target("translator", {"network": "torch.nn.Transformer with caches"}, _SPEED, 1, is_least=True),
)


def table(outcomes: Sequence[Outcome]) -> str:
    """Each target that was measured, beside the worst that was; below it why some are missed."""
    lines: list[str] = []
    missed: list[str] = []
    for target in TARGETS:
        worst = target.measured(outcomes)
        if worst is None:
            continue
        values = target.rows.values()
        rows = "; ".join(x if isinstance(x, str) else ", ".join(x) for x in values) or "all"
        device = f"{target.benchmark} on a GPU" if target.kind[0] == "gpu" else target.benchmark
        bound = f"{'≥' if target.is_least else '≤'} {target.bound:.3g}"
        reached = target.reached_by(worst)
        verdict = "yes" if reached else "**no**"
        lines.append(f"| {device} | {rows} | {target.column} | {bound} | {worst:.4g} | {verdict} |")
        if not reached and target.why:
            missed.append(f"- {device}, {rows}, {target.column} {worst:.4g}: {target.why}.")
    if not lines:
        return ""
    head = "| benchmark | rows | number | target | worst measured | reached |"
    rule = "| --- | --- | --- | ---: | ---: | --- |"
    below = ["", "Not reached:", "", *missed] if missed else []
    return "\n".join([head, rule, *lines, *below]) + "\n"
