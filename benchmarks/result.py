"""The result of one benchmark: the machine and a table, as text, JSON or Markdown.

result = Result.from_rows("mixers", rounds=9, rows=[{"case": "1-D", "time ratio": 0.09}])
print(result.text())                                  # for the terminal
Result.from_json(result.to_json()).markdown()         # for docs/performance_tables.md
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


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The family and model of this machine's processor; several share one model name."""
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    pairs = [line.partition(":") for line in lines]
    fields = {name.strip(): value.strip() for name, _, value in pairs}
    parts = [f"{name} {fields[name]}" for name in ("cpu family", "model") if name in fields]
    return " ".join(parts).removeprefix("cpu ") or platform.machine()


@dataclass(frozen=True)
class Result:
    """The rows of one benchmark and the machine they were measured on.

    All rows have the same columns.
    """

    benchmark: str
    machine: dict[str, str | int]
    rounds: int
    rows: list[Row]

    @classmethod
    def from_rows(
        cls,
        benchmark: str,
        *,
        rounds: int,
        rows: list[Row],
        device: str = "cpu",
        dtype: str = "float32",
    ) -> "Result":
        """Add the description of this machine and process to rows."""
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
    def from_json(cls, text: str) -> "Result":
        """Read the output of `to_json`."""
        return cls(**json.loads(text))

    def to_json(self) -> str:
        """All fields as indented JSON."""
        return json.dumps(asdict(self), indent=2)

    @property
    def setting(self) -> tuple[str, str]:
        """The kind of device ("cpu" or "gpu") and the dtype; ratios compare within one setting."""
        on_cpu = str(self.machine["device"]).startswith("cpu")
        return "cpu" if on_cpu else "gpu", str(self.machine.get("dtype", "float32"))

    @property
    def description(self) -> str:
        """The machine and the number of rounds, in one line."""
        fields = ", ".join(f"{name} {value}" for name, value in self.machine.items())
        return f"{fields}; medians of {self.rounds} rounds"

    def text(self) -> str:
        """The machine and an aligned table."""
        cells = self._cells()
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        lines = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in cells]
        return "\n".join([self.description, *lines])

    def markdown(self) -> str:
        """The table as Markdown."""
        head, *lines = self._cells()
        numeric = [not isinstance(value, str) for value in self.rows[0].values()]
        rule = ["---:" if is_number else "---" for is_number in numeric]
        return "\n".join(f"| {' | '.join(line)} |" for line in [head, rule, *lines])

    def _cells(self) -> list[list[str]]:
        return [
            list(self.rows[0]),
            *([_format(value) for value in row.values()] for row in self.rows),
        ]


def _format(value: str | float) -> str:
    if isinstance(value, str):
        return value
    return f"{value:,.3g}" if value < 100 else f"{value:,.0f}"
