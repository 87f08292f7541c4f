"""Studies of many runs: the time of each command, and of a run without work.

    python -m benchmarks.load
    python -m benchmarks.load --cells 100 --seeds 5 --runs 200 --rounds 3 --json

A run without work trains three weights for one step: what is left is the time that the study tool
adds to a run, from the end of the first run of each worker to the end of the last run, times the
workers, divided by the runs. Commands look at finished runs in groups of 25 cells, each compared
with the first of its group; "in one group" is the same with all cells in one, and "to do" a plan
without finished runs. Their times are those of the processor, which depend little on what else the
machine does, and include the start of the program and, for `study plan`, the import of torch; wall
times are the shortest of all rounds. Memory is the peak of the process.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import many_runs
from benchmarks.command import run
from benchmarks.result import Result, Row
from quatrain.specs import InputError
from quatrain.study import Event, run_study

BOUNDS = {"harness": 50.0, "command": 5.0, "page": 10.0}
"""Milliseconds of a run, seconds of a command, and MiB of the HTML page."""

_PROGRAM = """
import sys
from pathlib import Path

peak = Path(sys.argv.pop(1))
try:
    from quatrain.cli.start import main

    main()
finally:
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peak.write_text("".join(line.split()[1] for line in lines if line.startswith("VmHWM")))
"""
"""The program `quatrain`, which writes its peak memory to the file of the first argument. The
peak that `os.wait4` gives is at least that of this process."""

_TRIVIAL = '''"""Runs that train one weight for one step."""

import torch
from torch import nn

from quatrain.specs import Spec
from quatrain.study import Cell, Study
from quatrain.training import Evaluation, Loss, Recipe


class Objective(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, x):
        return Loss(self.layer(x).square().sum(), torch.tensor(float(len(x))))


class Task:
    rate_unit = "rows"
    data_hashes = {{}}
    data_notes = {{}}

    def __init__(self, spec):
        self.recipe = spec.recipe

    def build(self):
        return Objective()

    def batches(self, epoch):
        return [0]

    def collate(self, plan):
        return {{"x": torch.tensor([[1.0, 2.0]])}}

    def monitor(self, objective):
        return {{}}

    def evaluate(self, objective, folder):
        return Evaluation({{"accuracy": 50.0}})

    def cost(self, objective):
        return {{"parameters": 3.0, "multiply_adds": 2.0}}

    def example_batch(self):
        return self.collate(0)


class TrivialSpec(Spec):
    number: int
    recipe: Recipe = Recipe(steps=1, learning_rate=1e-2, warmup_steps=0)

    def open(self, data, folder, seed):
        return Task(self)


study = Study(
    title="Runs without work",
    question="How much time does the study tool add to a run?",
    cells=[Cell(name=str(n), group="trivial", spec=TrivialSpec(number=n)) for n in range({runs})],
    seeds=(0,),
    metric="accuracy",
)
'''


@dataclass(frozen=True)
class Usage:
    """Seconds and peak memory of a process; no memory where there is no /proc."""

    processor_seconds: float
    wall_seconds: float
    mebibytes: float | None


def usage_of(words: Sequence[str | Path]) -> Usage:
    """Run the program `quatrain` in a process of its own; its output is discarded.

    Raises:
        InputError: if it fails, with the last line of its output.
    """
    with tempfile.TemporaryDirectory() as name, (Path(name) / "output").open("w+b") as output:
        peak = Path(name) / "peak"
        command = [sys.executable, "-P", "-c", _PROGRAM, str(peak), *map(str, words)]
        start = time.perf_counter()
        process = subprocess.Popen(command, stdout=output, stderr=output)
        _, status, resources = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            last = output.read().decode(errors="replace").splitlines()[-1:]
            raise InputError(f"quatrain {' '.join(map(str, words))} failed: {last}", "command")
        kibibytes = peak.read_text(encoding="utf-8")
    memory = int(kibibytes) / 2**10 if kibibytes else None
    return Usage(resources.ru_utime + resources.ru_stime, seconds, memory)


def harness(folder: Path, runs: int, jobs: int) -> Row:
    """The milliseconds of a worker for each of many runs without work, its start left out."""
    path = folder / f"trivial_{jobs}.py"
    path.write_text(_TRIVIAL.format(runs=runs), encoding="utf-8")
    ends: list[float] = []
    first: dict[int, float] = {}

    def notify(event: Event) -> None:
        if event.is_final:
            ends.append(time.perf_counter())
            first.setdefault(event.worker, ends[-1])

    summary = run_study(path, folder / f"jobs-{jobs}", jobs=jobs, threads=1, notify=notify)
    if len(summary.done) != runs:
        raise InputError(f"{len(summary.done)} of {runs} runs are done", "runs")
    start = max(first.values())
    measured = sum(end > start for end in ends)
    seconds = (ends[-1] - start) * len(first) / max(1, measured)
    workers = "1 worker" if jobs == 1 else f"{jobs} workers"
    what = f"{runs:,} runs without work, {workers}"
    return _row(what, "ms a run", "harness", 1e3 * seconds, wall=1e3 * seconds)


def commands(folder: Path, cells: int, seeds: int, rounds: int) -> list[Row]:
    """The seconds of each command that looks at many runs, and the size of the page."""
    many = f"{cells * seeds:,} runs"
    parts, whole = folder / "groups", folder / "one"
    study = many_runs.write_runs(parts, cells, seeds)
    one_group = many_runs.write_runs(whole, cells, seeds, of_a_group=cells)
    looks: dict[str, list[str | Path]] = {
        "study status": ["study", "status", parts],
        "report": ["report", parts],
        "report, in one group": ["report", whole],
        "study watch --once": ["study", "watch", "--once", parts],
        "study plan": ["study", "plan", study, "--out", parts],
        "study plan, in one group": ["study", "plan", one_group, "--out", whole],
        "study plan, to do": ["study", "plan", study, "--out", folder / "empty"],
    }
    rows: list[Row] = []
    for name, words in looks.items():
        found = [usage_of(words) for _ in range(rounds)]
        seconds = statistics.median(usage.processor_seconds for usage in found)
        wall = min(usage.wall_seconds for usage in found)
        memory = max(usage.mebibytes or 0.0 for usage in found) or None
        rows.append(_row(f"{name}: {many}", "s", "command", seconds, wall=wall, memory=memory))
    for name, out in (("page of the report", parts), ("page, in one group", whole)):
        size = (out / "report" / "report.html").stat().st_size / 2**20
        rows.append(_row(f"{name}: {many}", "MiB", "page", size))
    return rows


def _row(
    what: str,
    unit: str,
    kind: str,
    measured: float,
    *,
    wall: float | None = None,
    memory: float | None = None,
) -> Row:
    return {
        "what": what,
        "unit": unit,
        "bound": BOUNDS[kind],
        "measured": measured,
        "wall": "-" if wall is None else wall,
        "peak memory, MiB": "-" if memory is None else round(memory),
    }


def measure(cells: int, seeds: int, runs: int, rounds: int) -> Result:
    """Measure the harness with one and two workers, then the commands."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = [harness(folder, runs, jobs) for jobs in (1, 2)]
        rows += commands(folder, cells, seeds, rounds)
    return Result.from_rows("load", rounds=rounds, rows=rows)


if __name__ == "__main__":
    run(__doc__, measure, rounds=3, cells=500, seeds=20, runs=1000)
