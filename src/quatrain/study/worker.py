"""A worker: a child process that stays warm and does one run after another.

    python -m quatrain.study.worker STUDY.py --out DIR --device cpu --threads 1

It imports the study file once, reads orders on stdin and writes events on stdout (see
`quatrain.study.messages`). Tasks and their libraries may print what they like: it goes to stderr.
"""

import argparse
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TextIO

from quatrain.results import ResultStore
from quatrain.specs import QuatrainError
from quatrain.study.grid import Study
from quatrain.study.load import load_study
from quatrain.study.messages import Event, Order
from quatrain.study.perform import Site, Train, is_outside, perform
from quatrain.study.provenance import commit_of


def main(arguments: list[str] | None = None, train: Train | None = None) -> int:
    """Work until stdin ends.

    Args:
        arguments: the command line, by default that of the process.
        train: what trains a task, by default `quatrain.training.train`.
    """
    given = _parse(arguments)
    events = _private_stdout()
    site = Site(
        store=ResultStore(given.out),
        data=given.data,
        device=given.device,
        threads=given.threads,
        commit=commit_of(given.study.resolve().parent),
        train=_training(given.threads, given.readers) if train is None else train,
    )
    _serve(load_study(given.study), site, _orders(_private_stdin()), events)
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m quatrain.study.worker")
    parser.add_argument("study", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--readers", type=int, default=0)
    return parser.parse_args(arguments)


def _training(threads: int, readers: int) -> Train:
    import torch

    from quatrain.training import train

    torch.set_num_threads(threads)
    return partial(train, readers=readers)


def _private_stdout() -> TextIO:
    """Keep stdout for events, and let everything else that is printed go to stderr.

    Done on the level of file descriptors, since libraries in C print too.
    """
    private = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    return private


def _private_stdin() -> TextIO:
    """Keep stdin for orders, and leave an empty one to everybody else.

    A child process of a run closes its stdin first of all, and would wait for ever for the lock of
    one that a thread reads from while the process is forked.
    """
    private = os.fdopen(os.dup(0))
    with Path(os.devnull).open() as empty:
        os.dup2(empty.fileno(), 0)
    return private


def _orders(source: TextIO) -> "queue.Queue[Order | None]":
    """Orders as they come in, then None.

    Read by a thread, so that a worker whose runner has died notices it in the middle of a run
    and ends at once: the checkpoint is there for the next runner.
    """
    orders: queue.Queue[Order | None] = queue.Queue()

    def read() -> None:
        for line in source:
            orders.put(Order.from_line(line))
        if orders.unfinished_tasks:
            os._exit(1)
        orders.put(None)

    threading.Thread(target=read, daemon=True).start()
    return orders


def _serve(study: Study, site: Site, orders: "queue.Queue[Order | None]", events: TextIO) -> None:
    def tell(event: Event) -> None:
        events.write(event.to_line())

    while (order := orders.get()) is not None:
        answer = _answer(study, site, order, tell)
        # The runner may close stdin on hearing the answer, which would end an order undone at once.
        sys.stdout.flush()
        orders.task_done()
        tell(answer)


def _answer(study: Study, site: Site, order: Order, tell: Callable[[Event], None]) -> Event:
    try:
        run = study.find(order.identity, order.seed, order.label)
    except QuatrainError as error:  # another study: no run of it would be found
        return Event(
            kind="failed",
            identity=order.identity,
            reason="another study",
            message=str(error),
            outside=True,
        )
    try:
        return perform(run, site, retry=order.retry, notify=tell)
    except (QuatrainError, OSError) as error:
        return Event(
            kind="failed",
            identity=order.identity,
            reason="unusable folder",
            message=str(error),
            outside=is_outside(error),
        )


if __name__ == "__main__":
    sys.exit(main())
