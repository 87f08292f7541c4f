"""Make docs/performance.md from what the benchmarks left in docs/results/benchmarks.

    python -m benchmarks.mixers --json > docs/results/benchmarks/mixers.json
    python -m benchmarks.performance
    python -m benchmarks.performance --check new.json

With --check nothing is written: the ratios of a new outcome are held against those that are
published for the same kind of device and type of numbers, and the exit status is 1 if one is more
than a quarter worse. Times are not compared.
"""

import importlib
import itertools
import sys
from pathlib import Path

from benchmarks import glance, targets
from benchmarks.attention import MAPS
from benchmarks.command import Parser, refusing
from benchmarks.outcome import Outcome, Row
from benchmarks.plots import PLOTS
from quatrain.results import write_atomically
from quatrain.specs import ALL_TERM_SETS, InputError

DOCS = Path(__file__).parents[1] / "docs"
OUTCOMES = DOCS / "results" / "benchmarks"
PAGE = DOCS / "performance.md"
BENCHMARKS = ("attention", "inputs", "mixers", "networks", "sequences", "steps", "translator")
WORSE = 1.25
_LESS_IS_BETTER = ("ratio", "/ dense", "/ SDPA", "late / early", "growth")
_MORE_IS_BETTER = ("speed of ours / its own",)
_LEAST_MEMORY = 0.01
"""Ratios of memory below this are of a few pages, which come and go."""

_MAPS = MAPS.split(",")
_SHOWN = ("cpu", "float32")
"""What the plots show."""

_INTRODUCTION = """# Performance

Made by `python -m benchmarks.performance` from the files in
[results/benchmarks](results/benchmarks). Ratios of time are taken in alternation in one process,
round by round, and are medians; peaks of memory are taken once, each in a fresh process. A ratio
of time or memory below 1 means that ours takes less. Absolute numbers hold for the machine named,
and ratios change from one to another: where products take more of the time, there is less to save.
Numbers are float32 on a CPU but where a table names another.

A "method" is the exact algorithm that `plan` chooses for the terms: *pooled* (0000 and 0010: one
mean for all queries), *separable* (0001 and 0011: rows and columns summed in turn), *factored*
(0100 to 0111: the weights of a query are a product of one for its rows and one for its columns),
*fused* (everything else: the softmax, a block at a time), *reference* (the formula, where it is
small). Mixers beside attention are named as `parse_mixer` reads them: "dynamic@7" is dynamic
convolution in a window of 7, "0100@31" attention in one of 31, "0010+deformable" attention over a
deformable convolution, "w/o" neither.
"""

_GLANCE = """\
Time alone, on the machines of the tables below: attention on a CPU at 64 x 64, forward; ResNet-50
with attention in conv4 and conv5 on one image of 800 x 1333, forward; one training step of the
small detector; attention on a GPU at 100 x 168 in bfloat16, forward and backward. "Dense" makes a
number for each pair, SDPA is torch's kernel without positions.
"""

_TARGETS = """Bounds were set before anything was written, but for three that were said in
words then: 2.1 stands for memory linear in the length, 2.5 for time linear in it, 1.1 for a step
that costs the same. These numbers were chosen when measurements were there.
"""

_NEVER = (
    "attention with windows, masks or key strides, but for a decoding step",
    "attention with heads wider than 32",
    "attention by blocks on other maps than 64x64, long sequences and networks, since blocks hold "
    "more heads at once and factored lays out no weights: their tables are of the code before",
    "gradients that repeat bit for bit, which on a GPU take one kernel more",
    "FlexAttention",
)
"""What no benchmark asks for."""


def page(outcomes: list[Outcome]) -> str:
    """The whole page: a section for each benchmark, in its own words."""
    by_name = itertools.groupby(outcomes, key=lambda outcome: outcome.benchmark)
    sections = [_section(name, list(of)) for name, of in by_name]
    first = [_INTRODUCTION, *_at_a_glance(outcomes), *_reached(outcomes)]
    return "\n".join([*first, *sections, *_not_measured(outcomes)])


def _at_a_glance(outcomes: list[Outcome]) -> list[str]:
    made = glance.table(outcomes)
    return [f"## At a glance\n\n{_GLANCE}\n{made}"] if made else []


def _reached(outcomes: list[Outcome]) -> list[str]:
    """What was to be reached, beside what is; none if nothing of it was measured."""
    made = targets.table(outcomes)
    return [f"## What was to be reached\n\n{_TARGETS}\n{made}"] if made else []


def _not_measured(outcomes: list[Outcome]) -> list[str]:
    """A last section that names what no outcome is of."""
    have = {outcome.benchmark for outcome in outcomes}
    missing = [f"`python -m benchmarks.{name}`" for name in BENCHMARKS if name not in have]
    if "attention" in have:
        missing += [f"attention on {name}" for name in _maps_missing(outcomes, _SHOWN)]
    on_gpu = {outcome.benchmark for outcome in outcomes if outcome.kind[0] == "gpu"}
    if "attention" in on_gpu:
        for dtype in ("bfloat16", "float16", "float32"):
            maps = ", ".join(_maps_missing(outcomes, ("gpu", dtype)))
            missing += [f"attention in {dtype} on a GPU on {maps}"] if maps else []
    if on_gpu:
        missing += [f"{name} on a GPU" for name in sorted({*BENCHMARKS} - on_gpu)]
    else:
        missing.append("anything on a GPU")
    lines = "".join(f"- {each}\n" for each in (*missing, *_NEVER))
    return [f"## Not measured\n\n{lines}"]


def _maps_missing(outcomes: list[Outcome], kind: tuple[str, str]) -> list[str]:
    """Maps of the benchmark that some term set was not measured on."""
    rows = [row for outcome in outcomes if outcome.kind == kind for row in outcome.rows]
    done = {name: {row["terms"] for row in rows if row.get("map") == name} for name in _MAPS}
    return [name for name in _MAPS if len(done[name]) < len(ALL_TERM_SETS)]


def published() -> list[Outcome]:
    """The outcomes in the docs, those of one benchmark together."""
    paths = sorted(OUTCOMES.glob("*.json"))
    outcomes = [Outcome.from_json(path.read_text(encoding="utf-8")) for path in paths]
    return sorted(outcomes, key=lambda outcome: outcome.benchmark)


def _section(name: str, outcomes: list[Outcome]) -> str:
    described = importlib.import_module(f"benchmarks.{name}").__doc__ or ""
    title, *paragraphs = described.strip().split("\n\n")
    prose = [text for text in paragraphs if not text.startswith("    ")]
    parts = [f"## {title.rstrip('.')}", *prose]
    parts += [f"![{text}](results/benchmarks/{file})" for file, text, _ in PLOTS.get(name, [])]
    for outcome in outcomes:
        parts += [f"`python -m benchmarks.{name}`: {outcome.where}.", outcome.markdown()]
    return "\n\n".join(parts) + "\n"


def drawings(outcomes: list[Outcome]) -> dict[Path, str]:
    """The plots of all benchmarks that have any, by their files."""
    drawn = {}
    for name, plots in PLOTS.items():
        shown = [each for each in outcomes if (each.benchmark, each.kind) == (name, _SHOWN)]
        rows = [row for each in shown for row in each.rows]
        drawn |= {OUTCOMES / file: draw(rows) for file, _, draw in plots if rows}
    return drawn


def worse(new: Outcome, old: list[Outcome]) -> list[str]:
    """A line for each ratio of `new` that is more than a quarter worse than the published one.

    Ratios of memory below 0.01 count as 0.01. A row that has no published one with the same
    columns, or no ratio, is told too: it was not checked.
    """
    alike = [outcome for outcome in old if outcome.kind == new.kind]
    before = {_case(row): row for outcome in alike for row in outcome.rows}
    found: list[str] = []
    for row in new.rows:
        case, known = " ".join(_case(row)), before.get(_case(row), {})
        known = known if known.keys() == row.keys() else {}
        checked = [
            (name, value, float(known[name]))
            for name, value in row.items()
            if not isinstance(value, str) and isinstance(known.get(name), float | int)
            if any(part in name for part in (*_LESS_IS_BETTER, *_MORE_IS_BETTER))
        ]
        if not checked:
            found.append(f"{case}: not published")
        found += [
            f"{case}: {name} is {value:.3g}, published {was:.3g}"
            for name, value, was in checked
            if _is_worse(name, value, was)
        ]
    return found


def _is_worse(name: str, value: float, was: float) -> bool:
    if any(part in name for part in _MORE_IS_BETTER):
        return value * WORSE < was
    return value > WORSE * max(was, _LEAST_MEMORY if "memory" in name else 0.0)


def _case(row: Row) -> tuple[str, ...]:
    """What was measured; the method may change, and a dash is a number that was not taken."""
    return tuple(
        value
        for name, value in row.items()
        if isinstance(value, str) and value != "-" and name != "method"
    )


def _read(path: Path) -> Outcome:
    try:
        return Outcome.from_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError) as error:
        expected = f"what a benchmark prints with --json ({error})"
        raise InputError("check", str(path), expected, "name another file") from error


def main() -> None:
    """Write the page and its plots, or check a new outcome."""
    parser = Parser(__doc__)
    parser.add_argument("--check", type=Path, help="the JSON of a new outcome")
    given = parser.parse_args()
    outcomes = published()
    if given.check is None:
        for path, drawn in drawings(outcomes).items():
            write_atomically(path, drawn)
        write_atomically(PAGE, page(outcomes))
        return
    with refusing():
        new = _read(given.check)
    found = worse(new, [each for each in outcomes if each.benchmark == new.benchmark])
    print("\n".join(found) or f"all ratios within {WORSE} times the published ones")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
