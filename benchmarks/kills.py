"""Random SIGKILLs while a study runs: runs that are lost, doubled or changed.

    python -m benchmarks.kills
    python -m benchmarks.kills --engines local,slurm --rounds 1 --runs 3 --seed 2 --json

A small training with dropout runs in two workers, once undisturbed and once while processes are
killed at random times: the driver (`quatrain study run`), a worker, a node, or all at once; the
targets of each engine are in `benchmarks.kill_targets`. After each death of the driver the same
command is given again, until all runs are done; then the next study begins, until each target was
killed `--rounds` times. A run is lost if it has no record in the end, doubled if it is evaluated
although its record exists, and changed if a metric or the hash of its weights differs in any bit
from the undisturbed run. Linux only; engines other than "local" run on a cluster that is started
for it.
"""

import random
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path

from benchmarks.command import measure_rows, run
from benchmarks.kill_targets import ENGINES, Driver, Engine, Local, Target
from benchmarks.result import Result, Row
from quatrain.results import Record, ResultStore
from quatrain.specs import InputError
from quatrain.specs.errors import shorten

LONGEST_WAIT = 6.0
"""Seconds between two kills, at most."""
MOST_STARTS = 100
"""Starts of the driver of one study."""
_STUDY = '''"""Trainings of some seconds, to be killed."""

import time
from pathlib import Path

import torch
from torch import nn

from quatrain.specs import Spec
from quatrain.study import Cell, Study
from quatrain.training import Evaluation, Loss, Recipe

DOUBLED = Path({doubled!r})


class Objective(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(2, 8), nn.Dropout(0.2), nn.Linear(8, 1))

    def forward(self, x):
        return Loss((self.layers(x)[:, 0] - x.sum(1)).square().sum(), torch.tensor(float(len(x))))


class Task:
    rate_unit = "rows"
    data_hashes = {{}}
    data_notes = {{}}

    def __init__(self, spec, seed):
        self.recipe, self.seed = spec.recipe, seed

    def build(self):
        return Objective()

    def batches(self, epoch):
        return [100 * epoch + number for number in range(10)]

    def collate(self, plan):
        time.sleep(0.01)
        generator = torch.Generator().manual_seed(1000 * self.seed + plan)
        return {{"x": torch.randn(16, 2, generator=generator)}}

    def monitor(self, objective):
        return {{}}

    def evaluate(self, objective, folder):
        run = next(part for part in (folder, *folder.parents) if part.parent.name == "runs")
        if (run / "record.json").exists():
            with DOUBLED.open("a") as file:
                file.write(f"{{run.name}}\\n")
        x = torch.randn(64, 2, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            return Evaluation({{"loss": float(objective(x).total)}})

    def cost(self, objective):
        return {{"parameters": 33.0, "multiply_adds": 24.0}}

    def example_batch(self):
        return self.collate(0)


class KilledSpec(Spec):
    recipe: Recipe = Recipe(
        steps=200, learning_rate=1e-2, warmup_steps=10, report_every=20, checkpoint_every=20
    )

    def open(self, data, folder, seed):
        return Task(self, seed)


study = Study(
    title="Killed",
    question="Does a kill change a result?",
    cells=[Cell(name="a", group="g", spec=KilledSpec())],
    seeds=range({runs}),
    metric="loss",
    lower_is_better=True,
)
'''


def disturb(driver: Driver, target: Target, kills: int, choose: random.Random, runs: int) -> int:
    """Run the study to its end, with at most this many kills; return their number.

    Raises:
        InputError: if the study does not end.
    """
    done = 0
    for _ in range(MOST_STARTS):
        driver.start()
        while driver.is_running and done < kills:
            with suppress(subprocess.TimeoutExpired):
                driver.process.wait(choose.uniform(0, LONGEST_WAIT))
            done += driver.is_running and target(driver, choose)
        driver.process.wait()
        if len(ResultStore(driver.out).all_records()) == runs:
            return done
    raise InputError(f"the study is not done after {MOST_STARTS} starts", "kills")


def campaign(
    folder: Path,
    engine: Engine,
    name: str,
    target: str,
    kills: int,
    runs: int,
    choose: random.Random,
) -> Row:
    """Studies with kills of one target, until there were enough."""
    study, doubled = folder / "killed.py", folder / "doubled.txt"
    study.write_text(_STUDY.format(runs=runs, doubled=str(doubled)), encoding="utf-8")
    undisturbed = Driver(study, folder / "undisturbed", Local(folder))
    if not undisturbed.out.exists():
        undisturbed.start()
        undisturbed.process.wait()
    expected = _facts(undisturbed.out)
    total = studies = lost = changed = 0
    while total < kills:
        driver = Driver(study, folder / f"{name}-{target.replace(' ', '-')}-{studies}", engine)
        total += disturb(driver, engine.targets[target], kills - total, choose, runs)
        studies += 1
        facts = _facts(driver.out)
        lost += len(expected.keys() - facts.keys())
        changed += sum(facts[each] != expected[each] for each in facts)
    repeated = len(doubled.read_text("utf-8").splitlines()) if doubled.exists() else 0
    doubled.unlink(missing_ok=True)
    return {
        "engine": name,
        "killed": target,
        "kills": total,
        "studies": studies,
        "runs": studies * runs,
        "lost": lost,
        "doubled": repeated,
        "changed": changed,
    }


def _facts(out: Path) -> dict[str, tuple[object, ...]]:
    """What must be equal in the records of a study, by identity."""

    def facts(record: Record) -> tuple[object, ...]:
        return record.metrics, record.weights, record.steps, record.fingerprint

    return {record.identity: facts(record) for record in ResultStore(out).all_records()}


def measure(engines: str, runs: int, seed: int, rounds: int) -> Result:
    """Kill each target of each engine `rounds` times, in studies of `runs` runs.

    Raises:
        InputError: if an engine is unknown, or cannot be started here.
    """
    names = engines.split(",")
    if unknown := set(names) - ENGINES.keys():
        known = ", ".join(ENGINES)
        raise InputError(f"engines={shorten(min(unknown))} is unknown; use {known}", "engines")
    choose = random.Random(seed)  # noqa: S311 - times, not secrets
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        for name in names:
            with ENGINES[name](folder / name) as engine:
                rows += measure_rows(
                    [*engine.targets],
                    lambda target, name=name, engine=engine: campaign(
                        folder, engine, name, target, rounds, runs, choose
                    ),
                )
    return Result.from_rows("kills", rounds=rounds, rows=rows)


if __name__ == "__main__":
    run(__doc__, measure, rounds=15, engines="local", runs=6, seed=1)
