import sys
from pathlib import Path

import pytest

STUDY = '''
import json
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace

from quatrain.specs import DataError, Spec
from quatrain.study import Cell, Comparison, Study


class Task:
    data_hashes = {"numbers.txt": "ab" * 32}

    def __init__(self, spec, folder, seed):
        self.spec, self.folder, self.seed = spec, folder, seed

    def evaluate(self, objective, folder):
        (folder / "answers.txt").write_text(str(objective))
        return SimpleNamespace(
            metrics={"score": float(objective)},
            signatures={"score": "sum"},
            artifacts=("answers.txt",),
        )

    def cost(self, objective):
        return {"parameters": 1.0, "multiply_adds": 2.0, "multiply_adds_closed_form": 2.0}


class FakeSpec(Spec):
    """Counts to `steps`, adding the seed each time."""

    steps: int = 4
    weight: int = 1
    trouble: str = ""

    def open(self, data, folder, seed):
        if self.trouble == "data" and data is None:
            raise DataError("data", "none", "a folder", "give --data")
        return Task(self, folder, seed)


def cell(name, group="one", **fields):
    return Cell(name=name, group=group, spec=FakeSpec(**fields))

'''

WORKER = '''
import json
import os
import signal
import sys
import time
from types import SimpleNamespace

from quatrain.study.worker import main


class NonFiniteLoss(Exception):
    pass


def train(task, folder, *, seed, device, notify):
    """Count as a training loop would: with a checkpoint after each step."""
    checkpoint, diary = folder / "checkpoint.safetensors", folder / "diary.txt"
    step, total = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 0)
    with diary.open("a") as lines:
        lines.write(f"from {step} in {os.getpid()}\\n")
    print("a task may print what it likes")
    while step < task.spec.steps:
        trouble(task.spec.trouble, step, folder)
        step, total = step + 1, total + task.spec.weight * (seed + 1)
        checkpoint.with_suffix(".tmp").write_text(json.dumps([step, total]))
        checkpoint.with_suffix(".tmp").replace(checkpoint)
        notify(SimpleNamespace(step=step, steps=task.spec.steps, loss=1.0, rate=9.0,
                               rate_unit="steps", seconds_left=1.0, text=""))
    return SimpleNamespace(objective=total, steps=step, seconds=0.5)


def trouble(kind, step, folder):
    marker = folder / "struck"
    if kind == "slow":
        time.sleep(0.1)
    if kind == "error" and step == 2:
        raise ValueError("the loss went for a walk")
    if kind == "nan" and step == 2:
        raise NonFiniteLoss("loss is nan")
    if kind == "memory" and step == 2:
        raise MemoryError
    if kind == "killed once" and step == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


sys.exit(main(train=train))
'''


@pytest.fixture
def command(tmp_path):
    """What starts a worker that trains without torch."""
    path = tmp_path / "fake_worker.py"
    path.write_text(WORKER)
    return (sys.executable, str(path))


@pytest.fixture
def write_study(tmp_path):
    """Write a study file with these cells, given as the source of a list."""

    def write(cells: str, seeds: str = "(0, 1)", comparisons: str = "()") -> Path:
        path = tmp_path / "a_study.py"
        definition = (
            f"study = Study(title='A study', question='Does it count?', cells={cells}, "
            f"seeds={seeds}, metric='score', comparisons={comparisons})\n"
        )
        path.write_text(STUDY + definition)
        return path

    return write
