"""A worker: a child process that stays warm and does one run after another.

    python -m quatrain.study.worker STUDY.py --out DIR --device cpu --threads 1 --events 3

It imports the study file once, reads orders on stdin and writes events to the file descriptor that
`--events` names (see `quatrain.study.protocol`). Stdout and stderr belong to the tasks and their
libraries: the runner leads both to the worker's log.
"""

import argparse
import io
import os
import queue
import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TextIO

from quatrain.results import ResultStore
from quatrain.specs import QuatrainError
from quatrain.study.execute import Site, Train, execute_run, is_outside, text_of
from quatrain.study.grid import Study
from quatrain.study.load import load_study
from quatrain.study.protocol import Event, Order
from quatrain.study.provenance import commit_of


def main(arguments: list[str] | None = None, train: Train | None = None) -> int:
    """Work until stdin ends.

    Args:
        arguments: the command line, by default that of the process.
        train: what trains a task, by default `quatrain.training.train`.
    """
    given = _parse(arguments)
    events = _event_pipe(given.events)
    orders = _orders(_private_stdin())
    _print_anything()
    site = Site(
        store=ResultStore(given.out),
        data=given.data,
        device=given.device,
        threads=given.threads,
        commit=commit_of(given.study.resolve().parent),
        train=_training(given.threads, given.num_workers) if train is None else train,
    )

    def report(event: Event) -> None:
        events.write(event.to_line())

    try:
        answer = partial(_answer, load_study(given.study), site, report, _open_folder())
    except QuatrainError as error:
        answer = partial(_failed_outside, "unusable study file", error)
    with events:
        while (order := orders.get()) is not None:
            closing = answer(order)
            # The runner may close stdin when it reads the event, which would end an order undone.
            orders.task_done()
            report(closing)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """The command line; its paths mean what they mean now, wherever the study file goes."""
    parser = argparse.ArgumentParser(prog="python -m quatrain.study.worker")
    parser.add_argument("study", type=_absolute)
    parser.add_argument("--out", type=_absolute, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--data", type=_absolute)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-workers", type=int, default=0)
    return parser.parse_args(arguments)


def _absolute(path: str) -> Path:
    return Path(path).absolute()


def _training(threads: int, num_workers: int) -> Train:
    import torch

    from quatrain.training import train

    torch.set_num_threads(threads)
    return partial(train, num_workers=num_workers)


def _event_pipe(descriptor: int) -> TextIO:
    """The pipe to the runner, which programs that a task starts do not inherit."""
    os.set_inheritable(descriptor, False)
    return os.fdopen(descriptor, "w", buffering=1, encoding="utf-8")


def _print_anything() -> None:
    """Let tasks print any text, whatever the locale, and see it in the log at once."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)


def _private_stdin() -> TextIO:
    """Keep stdin for orders, and leave an empty one to everybody else.

    A child process of a run closes its stdin first of all, and would wait for ever for the lock of
    one that a thread reads from while the process is forked.
    """
    private = os.fdopen(os.dup(0), encoding="utf-8")
    with Path(os.devnull).open() as empty:
        os.dup2(empty.fileno(), 0)
    return private


def _orders(source: TextIO) -> "queue.Queue[Order | None]":
    """Orders as they come in, then None.

    Read by a thread, so that a worker whose runner has died notices it in the middle of a run
    and ends at once: the checkpoint is there for the next runner. The processes that the run has
    started end too, for they would go on holding its lock.
    """
    orders: queue.Queue[Order | None] = queue.Queue()

    def read() -> None:
        with source:
            for line in source:
                orders.put(Order.from_line(line))
        if orders.unfinished_tasks:
            if os.getpgrp() == os.getpid():
                os.killpg(0, signal.SIGKILL)
            os._exit(1)
        orders.put(None)

    threading.Thread(target=read, daemon=True).start()
    return orders


def _open_folder() -> int:
    """The current folder, as a file descriptor: it can be gone back to even if it is renamed."""
    return os.open(".", getattr(os, "O_PATH", os.O_RDONLY))


def _answer(
    study: Study, site: Site, notify: Callable[[Event], None], folder: int, order: Order
) -> Event:
    try:
        run = study.find(order.identity, order.seed, order.label, order.spec_code)
    except QuatrainError as error:  # another study, or other code: no run of it would be found
        return _failed_outside("another study", error, order)
    try:
        return execute_run(run, site, retry=order.retry, notify=notify)
    except (QuatrainError, OSError) as error:
        return replace(_failed_outside("unusable folder", error, order), outside=is_outside(error))
    finally:
        os.fchdir(folder)  # what a run does to the current folder is no matter of the next run's


def _failed_outside(reason: str, error: Exception, order: Order) -> Event:
    return Event(
        kind="failed",
        identity=order.identity,
        reason=reason,
        message=text_of(error),
        outside=True,
    )


if __name__ == "__main__":
    sys.exit(main())
