"""What a benchmark found: where it ran, and a table; printed, kept as JSON, set as Markdown.

outcome = Outcome.here("mixers", rounds=9, rows=[{"case": "1-D", "time ratio": 0.09}])
print(outcome.text())                                  # for the terminal
Outcome.from_json(outcome.to_json()).markdown()        # for docs/performance.md
"""

import json
import os
import platform
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torchvision

from quatrain.study.provenance import device_name

Row = dict[str, str | float]


def processor(table: Path = Path("/proc/cpuinfo")) -> str:
    """The make of this machine's processor, whose name alone may be that of several."""
    lines = table.read_text(encoding="utf-8").splitlines() if table.exists() else []
    told = [line.partition(":") for line in lines]
    known = {name.strip(): value.strip() for name, _, value in told}
    parts = [f"{name} {known[name]}" for name in ("cpu family", "model") if name in known]
    return " ".join(parts).removeprefix("cpu ") or platform.machine()


@dataclass(frozen=True)
class Outcome:
    """The rows of one benchmark and the machine they hold for; all rows have the same columns."""

    benchmark: str
    machine: dict[str, str | int]
    rounds: int
    rows: list[Row]

    @classmethod
    def here(
        cls,
        benchmark: str,
        *,
        rounds: int,
        rows: list[Row],
        device: str = "cpu",
        dtype: str = "float32",
    ) -> "Outcome":
        """With the description of this machine and process."""
        machine: dict[str, str | int] = {
            "device": device_name(device),
            "processor": processor(),
            "cores": os.cpu_count() or 1,
            "threads": torch.get_num_threads(),
            "dtype": dtype,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "torchvision": torchvision.__version__,
        }
        return cls(benchmark, machine, rounds, rows)

    @classmethod
    def from_json(cls, text: str) -> "Outcome":
        """Read what `to_json` wrote."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """Everything, indented."""
        return json.dumps(asdict(self), indent=2)

    @property
    def kind(self) -> tuple[str, str]:
        """What its ratios hold for: the kind of device, and the type of the numbers."""
        on_cpu = str(self.machine["device"]).startswith("cpu")
        return "cpu" if on_cpu else "gpu", str(self.machine.get("dtype", "float32"))

    @property
    def where(self) -> str:
        """The machine in a line."""
        stated = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return f"{stated}; medians of {self.rounds} rounds"

    def text(self) -> str:
        """The machine and an aligned table."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([self.where, *lines])

    def markdown(self) -> str:
        """The table alone."""
        head, *lines = self._cells()
        numeric = [not isinstance(value, str) for value in self.rows[0].values()]
        rule = ["---:" if is_number else "---" for is_number in numeric]
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])

    def _cells(self) -> list[list[str]]:
        return [
            list(self.rows[0]),
            *([_shown(value) for value in row.values()] for row in self.rows),
        ]


def _shown(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
