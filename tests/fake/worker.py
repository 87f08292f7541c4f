"""A worker that trains the counting task without torch."""

import json
import multiprocessing
import os
import signal
import sys
import time
from types import SimpleNamespace

from quatrain.specs import StoredFileError
from quatrain.study.worker import main


class NonFiniteLoss(Exception):  # noqa: N818
    """Named as the one of the real training loop."""


def train(task, folder, *, seed, device, notify):
    """Count as a training loop would: with a checkpoint after each step."""
    checkpoint, diary = folder / "checkpoint.safetensors", folder / "diary.txt"
    step, total = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 0)
    with diary.open("a") as lines:
        lines.write(f"from {step} in {os.getpid()}\n")
    print("a task may print what it likes")  # noqa: T201
    while step < task.spec.steps:
        trouble(task.spec.trouble, step, folder)
        step, total = step + 1, total + task.spec.weight * (seed + 1)
        checkpoint.with_suffix(".tmp").write_text(json.dumps([step, total]))
        checkpoint.with_suffix(".tmp").replace(checkpoint)
        notify(
            SimpleNamespace(
                step=step,
                steps=task.spec.steps,
                loss=1.0,
                rate=9.0,
                rate_unit="steps",
                seconds_left=1.0,
                text="",
            )
        )
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
    if kind == "damaged":
        raise StoredFileError("checkpoint", "x", "a whole file", "delete it")
    if kind == "child" and step == 2:
        child = multiprocessing.get_context("fork").Process(target=print)
        child.start()
        child.join(timeout=20)
        if child.exitcode is None:
            child.kill()
            raise RuntimeError("the child did not end")
    if kind == "killed once" and step == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


sys.exit(main(train=train))
