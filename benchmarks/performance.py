"""Make docs/performance.md from what the benchmarks left in docs/results/benchmarks.

python -m benchmarks.mixers --json > docs/results/benchmarks/mixers.json
python -m benchmarks.performance
"""

import importlib
from pathlib import Path

from benchmarks.outcome import Outcome
from quatrain.results import write_atomically

DOCS = Path(__file__).parents[1] / "docs"
OUTCOMES = DOCS / "results" / "benchmarks"
PAGE = DOCS / "performance.md"

_INTRODUCTION = """# Performance

Made by `python -m benchmarks.performance` from the files in
[results/benchmarks](results/benchmarks). Ratios are taken in alternation in one process, round by
round, and are medians; a ratio of time or memory below 1 means that ours takes less. Absolute
numbers hold for the machine named. A GPU was used only where a table names one.
"""


def page() -> str:
    """The whole page: a section for each outcome, with its benchmark's own words."""
    return "\n".join([_INTRODUCTION, *map(_section, sorted(OUTCOMES.glob("*.json")))])


def _section(path: Path) -> str:
    outcome = Outcome.from_json(path.read_text(encoding="utf-8"))
    described = importlib.import_module(f"benchmarks.{outcome.benchmark}").__doc__ or ""
    title, *paragraphs = described.strip().split("\n\n")
    prose = [text for text in paragraphs if not text.startswith("    ")]
    parts = [
        f"## {title.rstrip('.')}",
        *prose,
        f"`python -m benchmarks.{outcome.benchmark}`: {outcome.where}.",
        outcome.markdown(),
    ]
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    write_atomically(PAGE, page())
