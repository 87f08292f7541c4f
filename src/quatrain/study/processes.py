"""Training of one run in several processes of this machine, started by its worker.

    worker  ── stdin: open as long as the worker lives ───────────────>  rank 0, 1, ...
            ── SIGTERM: write a checkpoint and stop ──────────────────>
            <── a pipe of each: Progress, then Trained, Paused or Failed

Each rank is a process that opens the task and trains (see `quatrain.study.rank`). The worker hosts
the store in which they find each other, on a port that the system chooses. It loads the weights
that they leave in the run's folder, and evaluates. Whatever ends the training, no rank outlives it:
the worker kills them, and a rank whose worker is killed finds its stdin closed and ends.
"""

import gc
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import TYPE_CHECKING

from quatrain.results.attempts import RunPaused
from quatrain.study.execute import ProcessError
from quatrain.study.grid import Run
from quatrain.study.pool import WORKER
from quatrain.study.protocol import Description, Failed, Message, Order, Paused, Trained
from quatrain.study.sessions import KILLED

if TYPE_CHECKING:
    import torch
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    from quatrain.training import Progress, Task, TrainingResult

RANK: tuple[str, ...] = (*WORKER[:-1], "quatrain.study.rank")
"""The command of a rank, without its arguments."""

_HOST = "127.0.0.1"
_INTERFACE = "lo0" if sys.platform == "darwin" else "lo"
_INTERFACES = {"GLOO_SOCKET_IFNAME": _INTERFACE, "NCCL_SOCKET_IFNAME": _INTERFACE}
"""Ranks connect on this machine only, unless the environment has other values."""

_POLL_SECONDS = 0.1
_EXIT_SECONDS = 10.0
_SETTLE_SECONDS = 1.0
"""Seconds after the failure of a rank in which the end of another one is taken for its cause."""


@dataclass(frozen=True)
class Launcher:
    """Starts the processes that train the runs of a study file.

    Args:
        study: the study file.
        data: the folder of data.
        threads: threads of each process.
        num_workers: processes that prepare batches, for each process.
    """

    study: Path
    data: Path | None
    threads: int
    num_workers: int

    def train(
        self,
        run: Run,
        task: "Task",
        folder: Path,
        *,
        seed: int,
        device: str,
        notify: "Callable[[Progress], None]",
        should_stop: Callable[[], bool],
    ) -> "TrainingResult":
        """Train in `run.processes` processes, as `quatrain.training.train` does in one.

        Args:
            run: the run, which the processes look up in the study file.
            task: its task, which builds the objective that is returned.
            folder: the folder of its files.
            seed: seeds what follows the training.
            device: the device of the first process; the others use those after it.
            notify: called at each line of the log.
            should_stop: whether the processes shall write a checkpoint and stop.

        Raises:
            RunPaused: if the training stopped before its last step.
            ProcessError: if a process failed or ended.
            StudyError: if there are fewer devices than processes.
            StoredFileError: if the weights cannot be read.
        """
        import torch

        from quatrain.training import TrainingResult, load_model
        from quatrain.training.devices import devices_of

        devices = devices_of(device, run.processes)
        if devices[0].type == "cuda":  # the first rank needs the memory of earlier runs
            gc.collect()
            torch.cuda.empty_cache()
        store = local_store()
        ranks: list[_Rank] = []
        try:
            for number in range(run.processes):
                command = self._command(run, folder, devices[number], store.port)
                ranks.append(_Rank(number, devices, command, self.threads))
            result = _follow(ranks, notify, should_stop)
            for rank in ranks:
                rank.close()
        finally:
            for rank in ranks:
                rank.kill()
        torch.manual_seed(seed)
        objective = task.build()
        load_model(folder, objective)
        objective = objective.to(device).eval()
        return TrainingResult(
            objective,
            result.steps,
            result.seconds,
            result.notes,
            session_seconds=result.session_seconds,
        )

    def _command(self, run: Run, folder: Path, device: "torch.device", port: int) -> list[str]:
        order = Order(run.identity, run.seed, label=run.label, spec_code=run.spec_code)
        words = [*RANK, str(self.study), "--folder", str(folder), "--order", order.to_line()]
        words += ["--device", str(device), "--threads", str(self.threads)]
        words += ["--num-workers", str(self.num_workers), "--host", _HOST, "--port", str(port)]
        return words if self.data is None else [*words, "--data", str(self.data)]


def local_store() -> "TCPStore":
    """The store in which ranks find each other, which other machines cannot reach."""
    from torch.distributed import TCPStore  # pyright: ignore[reportPrivateImportUsage]

    with socket.create_server((_HOST, 0)) as server:
        port = server.getsockname()[1]
        return TCPStore(
            _HOST, port, is_master=True, wait_for_workers=False, master_listen_fd=server.detach()
        )


class _Rank:
    """A process of a training, and the pipe of its messages."""

    def __init__(
        self, number: int, devices: "Sequence[torch.device]", command: Sequence[str], threads: int
    ) -> None:
        self._name = f"process {number + 1} of {len(devices)} of the training"
        device = devices[number].index
        environment = {
            "RANK": number,
            "WORLD_SIZE": len(devices),
            "LOCAL_RANK": number if device is None else device,  # accelerate's index of the device
            "LOCAL_WORLD_SIZE": len(devices),
            "OMP_NUM_THREADS": threads,
        }
        self._messages, writer = Pipe(duplex=False)
        with writer:
            self._process = subprocess.Popen(
                [*command, "--messages", str(writer.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=(writer.fileno(),),
                env={
                    **_INTERFACES,
                    **os.environ,
                    **{name: str(value) for name, value in environment.items()},
                },
            )
        self.result: Message | None = None
        """Its last message, after which it trains no more."""

    @property
    def connection(self) -> Connection:
        return self._messages

    @property
    def end(self) -> ProcessError | None:
        """The error about a process that has ended without its last message."""
        status = self._process.poll()
        if status is None or self.result is not None:
            return None
        how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
        message = f"{self._name} {how}; run the study again to resume"
        return ProcessError(Description(reason=KILLED, message=message))

    def receive(self) -> "Progress | None":
        """Read the next message, if there is one; return a report of progress.

        Raises:
            ProcessError: if the process has ended without its last message.
        """
        end = self.end  # before the pipe is read, which may have the last message
        try:
            message = self._messages.recv() if self._messages.poll() else None
        except (EOFError, OSError):  # the process has ended
            message = None
        if isinstance(message, Trained | Paused | Failed):
            self.result = message
            return None
        if message is None and end is not None:
            raise end
        return message

    def stop(self) -> None:
        """Ask for a checkpoint and the end."""
        self._process.send_signal(signal.SIGTERM)

    def close(self) -> None:
        """Wait for the end of a process that has trained; its stdin would end it at once."""
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_EXIT_SECONDS)
        self._close_stdin()

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close_stdin()
        self._messages.close()

    def _close_stdin(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()


def _follow(
    ranks: Sequence[_Rank], notify: "Callable[[Progress], None]", should_stop: Callable[[], bool]
) -> Trained:
    """Pass on reports of progress until all ranks have trained; return the result of the first."""
    is_stopping = False
    while active := [rank for rank in ranks if rank.result is None]:
        wait([rank.connection for rank in active], _POLL_SECONDS)
        if should_stop() and not is_stopping:
            is_stopping = True
            for rank in active:
                rank.stop()
        for rank in active:
            progress = rank.receive()
            if progress is not None:
                notify(progress)
            if isinstance(rank.result, Failed):
                raise _cause(ranks, rank.result)
    result = ranks[0].result
    if not isinstance(result, Trained):
        raise RunPaused
    return result


def _cause(ranks: Sequence[_Rank], failed: Failed) -> ProcessError:
    """The end of another rank, if it has ended, and otherwise this failure.

    A rank whose partner is killed fails with an error of the network. The system may show that
    error before it shows the end of the partner.
    """
    deadline = time.monotonic() + _SETTLE_SECONDS
    while time.monotonic() < deadline:
        for rank in ranks:
            if (end := rank.end) is not None:
                return end
        time.sleep(_POLL_SECONDS)
    return ProcessError(failed.described)
