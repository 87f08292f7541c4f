"""The performance targets, and the worst measured number of each.

table([Result.from_json(text), ...])     ->  a Markdown table; "" if no target was measured
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks import extensions, mixers
from benchmarks.result import Result, Row

_WITHOUT_E1 = ("0100", "0101", "0110", "0111")
_WITH_E1 = ("1001", "1011", "1100", "1101", "1110", "1111")
_SPEED = "speed of ours / its own"
_MAP = {"map": "64x64"}
_EXTENDED = tuple(
    name
    for name in (*extensions.NAMES, *itertools.chain(*extensions.NULL_KEYS.values()))
    if not set(name.split()) & {"table", "t5", "alibi", "swin", "cpb"}
)
"""Attention with extensions other than another position bias."""
_SAMPLED = tuple(name for name, case in mixers.CASES.items() if case["kind"] == "sampled")


@dataclass(frozen=True)
class Target:
    """A bound for the worst number in a column, over the selected rows of a benchmark."""

    benchmark: str
    rows: dict[str, str | tuple[str, ...]]
    """The accepted values of the columns that select rows."""
    column: str
    bound: float
    is_lower_bound: bool = False
    setting: tuple[str, str] = ("cpu", "float32")
    reason: str = ""
    """The known reason for a missed target."""

    def worst(self, results: Sequence[Result]) -> float | None:
        """The worst measured number; None if there is none."""
        numbers = [
            float(row[self.column])
            for result in results
            if (result.benchmark, result.setting) == (self.benchmark, self.setting)
            for row in result.rows
            if self._selects(row) and not isinstance(row.get(self.column, ""), str)
        ]
        return (min if self.is_lower_bound else max)(numbers) if numbers else None

    def is_reached_by(self, value: float) -> bool:
        """Whether the value is within the bound."""
        return value >= self.bound if self.is_lower_bound else value <= self.bound

    def _selects(self, row: Row) -> bool:
        selectors = self.rows.items()
        return all(row.get(name) in ((x,) if isinstance(x, str) else x) for name, x in selectors)


def _on_map(
    terms: tuple[str, ...], column: str, forward: float, training: float, reason: str = ""
) -> list[Target]:
    bounds = {"forward": forward, "training": training}
    return [
        Target("attention", {**_MAP, "terms": terms, "pass": name}, column, bound, reason=reason)
        for name, bound in bounds.items()
    ]


def _on_gpu(terms: tuple[str, ...], bound: float, reason: str = "") -> Target:
    rows = {"map": "100x168", "terms": terms, "pass": "training"}
    return Target(
        "attention", rows, "time / SDPA", bound, setting=("gpu", "bfloat16"), reason=reason
    )


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
        "matrix products take most of the time on this AMD EPYC of 2017 (family 23, model 1), and "
        "a training step of ours has seven of them, since it recomputes the weights; dense "
        "attention, which stores the weights, needs six. Another machine reached 0.295 and 0.756 "
        "with an earlier version "
        "([log](log/0007-attention-methods.md))",
    ),
    Target("attention", {**_MAP, "terms": _WITH_E1, "pass": "forward"}, "time / SDPA", 2.2),
    *_on_map(_WITH_E1, "memory / dense", 1 / 8, 1 / 8),
    _on_gpu(
        (*_WITHOUT_E1, *_WITH_E1),
        1.5,
        "within the bound as a CUDA graph, which excludes the time to launch kernels, and on an "
        "H200 (1.498). Outdated: measured before position biases and attention became one "
        "operator, which has not been timed on a GPU ([log](log/0007-attention-methods.md))",
    ),
    _on_gpu(
        ("0001", "0011"),
        0.1,
        "the time to launch the many short kernels dominates; the column "
        '"as graphs / SDPA" excludes it and is above 0.1 too. Outdated: kernels per step have '
        "since dropped from 38 (0001) and 55 (0011) to 26 and 31 "
        "([log](log/0007-attention-methods.md))",
    ),
    Target(
        "sequences",
        {},
        "memory growth",
        2.1,
        reason="the worst is 0000 both ways, whose peaks are a few MiB",
    ),
    Target("sequences", {"terms": "0010", "order": "causal"}, "time growth", 2.5),
    Target("steps", {"terms": ("0010", "0001", "0011")}, "late / early", 1.1),
    Target(
        "extensions",
        {"attention": _EXTENDED},
        "forward ratio",
        1.15,
        reason="rope-mixed has angles of its own for each head, whose sines and cosines each call "
        "computes, and 1,024 positions are few to pay for them",
    ),
    Target(
        "extensions",
        {"attention": _EXTENDED},
        "training ratio",
        1.15,
        reason="where E1 has keys of its own, E3 is a channel of queries and keys in training, "
        "and torch's kernel takes 1.2 times as long with 33 channels as with 32; as a mask, which "
        "costs little without gradients, it would store the weights of all pairs",
    ),
    Target("mixers", {"case": _SAMPLED}, "time ratio", 1),
    Target("mixers", {"case": _SAMPLED}, "memory ratio", 0.3),
    Target("networks", {"network": ("detector w/o", "segmenter w/o")}, "time ratio", 1.03),
    Target("translator", {"network": "torch.nn.Transformer"}, _SPEED, 0.9, is_lower_bound=True),
    Target(
        "translator",
        {"network": "torch.nn.Transformer with caches"},
        _SPEED,
        1,
        is_lower_bound=True,
    ),
)


def table(results: Sequence[Result]) -> str:
    """Each measured target with its worst number, the missed ones first, and their reasons."""
    lines: dict[bool, list[str]] = {False: [], True: []}
    missed: dict[tuple[str, str], list[str]] = {}
    for target in TARGETS:
        worst = target.worst(results)
        if worst is None:
            continue
        *common, last = [
            x if isinstance(x, str) else ", ".join(x) for x in target.rows.values()
        ] or ["all"]
        on_gpu = target.setting[0] == "gpu"
        benchmark = f"{target.benchmark} on a GPU" if on_gpu else target.benchmark
        bound = f"{'≥' if target.is_lower_bound else '≤'} {target.bound:.3g}"
        reached = target.is_reached_by(worst)
        verdict = "yes" if reached else "**no**"
        number = f"{target.column} | {bound} | {_format(worst)}"
        rows = "; ".join([*common, last])
        lines[reached].append(f"| {benchmark} | {rows} | {number} | {verdict} |")
        if not reached and target.reason:
            case = f"{benchmark}, {''.join(f'{x}; ' for x in common)}"
            numbers = missed.setdefault((case, target.reason), [])
            numbers.append(f"{last}, {target.column} {_format(worst)}")
    if not any(lines.values()):
        return ""
    head = "| benchmark | rows | number | target | worst measured | reached |"
    rule = "| --- | --- | --- | ---: | ---: | --- |"
    reasons = [
        f"- {case}{'; '.join(numbers)}: {reason}." for (case, reason), numbers in missed.items()
    ]
    reasons = ["", "Not reached:", "", *reasons] if reasons else []
    return "\n".join([head, rule, *lines[False], *lines[True], *reasons]) + "\n"


def _format(value: float) -> str:
    """Four significant digits, without an exponent for small ratios."""
    return f"{value:.4g}" if value >= 1e-4 else f"{value:.5f}"
