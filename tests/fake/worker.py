"""A worker that trains the counting task without torch."""

import json
import multiprocessing
import os
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

from quatrain.results.attempts import RunPaused
from quatrain.specs import StoredFileError
from quatrain.study.worker import main


class NonFiniteLoss(Exception):  # noqa: N818
    """Has the name of the error of the training loop."""


class PanicException(BaseException):
    """Has the name and the base class of the panics of libraries in Rust."""


class MuteError(Exception):
    """An error without a text."""

    def __str__(self):
        raise RuntimeError("no text")


def train(task, folder, *, seed, device, notify, should_stop):
    """Count, with a checkpoint after each step, as a training loop."""
    checkpoint, diary = folder / "checkpoint.safetensors", folder / "diary.txt"
    step, total = json.loads(checkpoint.read_text()) if checkpoint.exists() else (0, 0)
    with diary.open("a") as lines:
        lines.write(f"from {step} in {os.getpid()}\n")
    print("output of a task: é 漢 \udce9")  # noqa: T201
    print("in", Path.cwd())  # noqa: T201
    while step < task.spec.steps:
        cause_trouble(task.spec.trouble, step, folder)
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
        if should_stop():
            raise RunPaused
    return SimpleNamespace(
        objective=total, steps=step, seconds=0.5, weights=str(total), notes=(), session_seconds=None
    )


ERRORS = {
    "error": ValueError("the loss has no value"),
    "nan": NonFiniteLoss("loss is nan"),
    "memory": MemoryError(),
    "exit": SystemExit(0),
    "panic": PanicException("called `Option::unwrap()` on a `None` value"),
    "surrogate": ValueError("cannot parse caf\udce9.txt"),
    "long": ValueError("x" * 10**7),
    "mute": MuteError(),
}


def cause_trouble(kind, step, folder):
    if kind == "slow":
        time.sleep(0.1)
    if kind == "damaged":
        raise StoredFileError("the checkpoint is damaged; delete it", "checkpoint")
    if step != 2:
        return
    if kind in ERRORS:
        raise ERRORS[kind]
    if kind == "child":
        start_a_child()
    if kind == "folder":
        os.chdir("/")
    marker = folder / "ended"
    if kind.endswith(" once") and not marker.exists():
        marker.touch()
        end_the_process(kind)


def start_a_child():
    child = multiprocessing.get_context("fork").Process(target=print)
    child.start()
    child.join(timeout=20)
    if child.exitcode is None:
        child.kill()
        raise RuntimeError("the child did not end")


def end_the_process(kind):
    if kind == "interrupted once":
        raise KeyboardInterrupt
    if kind == "orphaned once" and os.fork() == 0:
        time.sleep(120)
    os.kill(os.getpid(), signal.SIGKILL)


sys.exit(main(train=train))
