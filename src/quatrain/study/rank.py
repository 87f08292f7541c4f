"""One of the processes that train a run: it opens the task and takes part in the training.

    python -m quatrain.study.rank STUDY.py --folder DIR --order JSON --device cuda:1 ...

RANK and WORLD_SIZE are environment variables, as of torchrun. The worker that starts it (see
`quatrain.study.processes`) hosts the store of the process group, reads its messages, and holds its
stdin: when that closes, the worker has ended, and this process ends too.
"""

import argparse
import os
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

from quatrain.results.attempts import RunPaused
from quatrain.study.child import StopRequest, absolute, accept_any_text
from quatrain.study.execute import describe
from quatrain.study.load import load_study
from quatrain.study.protocol import Failed, Message, Order, Paused, Trained

if TYPE_CHECKING:
    from quatrain.study.grid import Run
    from quatrain.training import Progress


def main(arguments: list[str] | None = None) -> int:
    """Train; send reports of progress and one last message."""
    options = _parse(arguments)
    _end_with_the_worker()
    os.set_inheritable(options.messages, False)
    accept_any_text()
    stop = StopRequest()
    with stop.delayed(), Connection(options.messages, readable=False) as messages:
        message = _message(options, messages.send, lambda: stop.is_made)
        messages.send(message)
        if isinstance(message, Failed):
            threading.Event().wait()
    if isinstance(message, Trained):
        _leave_group()
    return 0


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m quatrain.study.rank")
    parser.add_argument("study", type=absolute)
    parser.add_argument("--folder", type=absolute, required=True)
    parser.add_argument("--order", type=Order.from_line, required=True)
    parser.add_argument("--messages", type=int, required=True)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--data", type=absolute)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--num-workers", type=int, required=True)
    return parser.parse_args(arguments)


def _end_with_the_worker() -> None:
    """End this process at once when its stdin closes; tasks get an empty one."""
    pipe = os.dup(0)
    with Path(os.devnull).open() as empty:
        os.dup2(empty.fileno(), 0)

    def end() -> None:
        os.read(pipe, 1)
        os._exit(1)

    threading.Thread(target=end, daemon=True).start()


def _message(
    options: argparse.Namespace,
    notify: "Callable[[Progress], None]",
    should_stop: Callable[[], bool],
) -> Message:
    """Train, and return the last message."""
    order: Order = options.order
    try:
        study = load_study(options.study)
        run = study.find(order.identity, order.seed, order.label, order.spec_code)
    except Exception as error:  # the study file was edited: the run may be started again
        return Failed(replace(describe(error), external=True, is_stored=False))
    try:
        return _train(run, options, notify, should_stop)
    except RunPaused:
        return Paused()
    except KeyboardInterrupt:
        raise
    except BaseException as error:  # also sys.exit() in a task, and panics of libraries in Rust
        return Failed(describe(error))


def _train(
    run: "Run",
    options: argparse.Namespace,
    notify: "Callable[[Progress], None]",
    should_stop: Callable[[], bool],
) -> Trained:
    import torch
    from torch import distributed
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from quatrain.training import train

    torch.set_num_threads(options.threads)
    task = run.open(options.data, options.folder)
    distributed.init_process_group(
        distributed.get_default_backend_for_device(torch.device(options.device)),
        store=TCPStore(options.host, options.port, is_master=False),
        rank=int(os.environ["RANK"]),
        world_size=int(os.environ["WORLD_SIZE"]),
    )
    result = train(
        task,
        options.folder,
        seed=run.seed,
        device=options.device,
        num_workers=options.num_workers,
        notify=notify,
        should_stop=should_stop,
    )
    return Trained(result.steps, result.seconds, result.notes, result.session_seconds)


def _leave_group() -> None:
    from torch import distributed

    distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main())
