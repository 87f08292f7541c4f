"""A worker: a child process that executes one run after another.

    python -m quatrain.study.worker STUDY.py --out DIR --device cpu --threads 1 --events 3

It imports the study file once, reads orders on stdin and writes events to the file descriptor that
`--events` names (see `quatrain.study.protocol`). The runner redirects stdout and stderr, which
tasks and libraries may use, to the worker's log.

SIGTERM and SIGUSR1, which clusters send some time before they end a job, ask it to stop: the run
writes a checkpoint after its present step and stays paused, and the worker ends.
"""

import argparse
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
from quatrain.study.child import StopRequest, absolute, accept_any_text
from quatrain.study.execute import (
    Environment,
    Fingerprint,
    Train,
    execute_run,
    is_external,
    text_of,
)
from quatrain.study.grid import Study
from quatrain.study.load import load_study
from quatrain.study.processes import Launcher
from quatrain.study.protocol import Event, Order
from quatrain.study.provenance import commit_of


def main(arguments: list[str] | None = None, train: Train | None = None) -> int:
    """Execute orders until stdin ends; `train` is by default `quatrain.training.train`."""
    options = _parse(arguments)
    os.set_inheritable(options.events, False)  # programs that a task starts do not write events
    events = os.fdopen(options.events, "w", buffering=1, encoding="utf-8")
    orders = _read_orders(_private_stdin())
    accept_any_text()
    stop = StopRequest()
    environment = Environment(
        should_stop=lambda: stop.is_made,
        store=ResultStore(options.out),
        data=options.data,
        device=options.device,
        threads=options.threads,
        commit=commit_of(options.study.resolve().parent),
        train=_training(options.threads, options.num_workers) if train is None else train,
        train_in_processes=_launcher(options).train if train is None else None,
        fingerprint=_fingerprint() if train is None else None,
    )

    def report(event: Event) -> None:
        events.write(event.to_line())

    try:
        study = load_study(options.study)
        # A descriptor of the current folder is valid even if the folder is renamed.
        folder = os.open(".", getattr(os, "O_PATH", os.O_RDONLY))
        execute = partial(_execute, study, environment, report, folder)
    except QuatrainError as error:
        execute = partial(_external_failure, "unusable study file", error)
    with events:
        while not stop.is_made and (order := orders.get()) is not None:
            with stop.delayed():
                event = execute(order)
            # The runner may close stdin when it reads the event: the order must be done by then.
            orders.task_done()
            report(event)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    """Parse the command line; paths are made absolute before the study file changes the folder."""
    parser = argparse.ArgumentParser(prog="python -m quatrain.study.worker")
    parser.add_argument("study", type=absolute)
    parser.add_argument("--out", type=absolute, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--data", type=absolute)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--num-workers", type=int, default=0)
    return parser.parse_args(arguments)


def _training(threads: int, num_workers: int) -> Train:
    import torch

    from quatrain.training import train

    torch.set_num_threads(threads)
    return partial(train, num_workers=num_workers)


def _launcher(options: argparse.Namespace) -> Launcher:
    return Launcher(options.study, options.data, options.threads, options.num_workers)


def _fingerprint() -> Fingerprint:
    from quatrain.training.fingerprint import fingerprint

    return fingerprint


def _private_stdin() -> TextIO:
    """Move stdin to a descriptor of its own, and replace it by an empty file.

    A child process of a run closes its stdin first, and would wait forever for the lock of one that
    a thread reads from while the process is forked.
    """
    private = os.fdopen(os.dup(0), encoding="utf-8")
    with Path(os.devnull).open() as empty:
        os.dup2(empty.fileno(), 0)
    return private


def _read_orders(source: TextIO) -> "queue.Queue[Order | None]":
    """A queue of the orders, then None.

    A thread reads them, so that a worker whose runner has died notices it in the middle of a run
    and ends at once: the next runner resumes from the checkpoint. Processes that the run has
    started are killed too, since they would keep its lock.
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


def _execute(
    study: Study,
    environment: Environment,
    notify: Callable[[Event], None],
    folder: int,
    order: Order,
) -> Event:
    try:
        run = study.find(order.identity, order.seed, order.label, order.spec_code)
    except QuatrainError as error:  # another study, or other code: it has none of the runs
        return _external_failure("another study", error, order)
    try:
        return execute_run(run, environment, retry=order.retry, notify=notify)
    except (QuatrainError, OSError) as error:
        event = _external_failure("unusable folder", error, order)
        return replace(event, external=is_external(error))
    finally:
        os.fchdir(folder)  # a run may have changed the current folder


def _external_failure(reason: str, error: Exception, order: Order) -> Event:
    return Event(
        kind="failed",
        identity=order.identity,
        reason=reason,
        message=text_of(error),
        external=True,
    )


if __name__ == "__main__":
    sys.exit(main())
