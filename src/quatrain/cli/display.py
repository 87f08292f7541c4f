"""Progress of `study run`: a bar for each worker and one for all runs.

In a pipe or a log file there are plain lines instead: one for each run that ends, and one every few
seconds for the active runs.
"""

import time
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from quatrain.cli.output import print_line
from quatrain.report.text import visible
from quatrain.study import Event

_LINE_SECONDS = 15.0
"""Seconds between two lines of an active run where there are no bars."""


class Display:
    """A context that shows the events of a study."""

    def __init__(self, console: Console, runs: int) -> None:
        self._console = console
        self._runs = runs
        self._finished = 0
        self._printed: dict[int, float] = {}
        """By worker, the time of its last line."""
        self._notes: set[str] = set()
        self._bars: Progress | None = _bars(console) if console.is_interactive else None
        self._workers: dict[int, TaskID] = {}

    def __enter__(self) -> Self:
        if self._bars is not None:
            self._bars.start()
            self._total = self._bars.add_task("all runs", total=self._runs, numbers="")
        return self

    def __exit__(self, *_: object) -> None:
        if self._bars is not None:
            self._bars.stop()

    def notify(self, event: Event) -> None:
        """Show one event."""
        if event.is_final:
            self._finish(event)
        elif event.kind == "note":
            self._note(event.message)
        elif self._bars is not None:
            self._update(self._bars, event)
        elif time.monotonic() - self._printed.get(event.worker, 0.0) >= _LINE_SECONDS:
            self._printed[event.worker] = time.monotonic()
            print_line(self._console, f"{event.label}: {numbers(event) or 'starting'}")

    def _finish(self, event: Event) -> None:
        self._finished += 1
        reason = f" ({event.reason}: {event.message})" if event.kind == "failed" else ""
        if event.kind != "skipped":
            count = f"{self._finished}/{self._runs}"
            print_line(self._console, f"{count} {event.kind}: {event.label}{reason}")
        if self._bars is not None:
            self._bars.update(self._total, completed=self._finished)
            if event.worker in self._workers:
                self._bars.remove_task(self._workers.pop(event.worker))

    def _note(self, message: str) -> None:
        """Print a note once, also if it is about several runs."""
        if message not in self._notes:
            self._notes.add(message)
            print_line(self._console, f"note: {message}")

    def _update(self, bars: Progress, event: Event) -> None:
        if event.worker not in self._workers:
            self._workers[event.worker] = bars.add_task("", total=None, numbers="")
        bars.update(
            self._workers[event.worker],
            description=visible(event.label),
            completed=event.step,
            total=event.steps or None,
            numbers=visible(numbers(event)),
        )


def numbers(event: Event) -> str:
    """Step, loss, speed and time left, if they are known, and the text of the training.

    'step 40/100  loss 2.500  1,234 tokens/s  1:15 left'
    """
    parts = [f"step {event.step}/{event.steps}"] if event.steps else []
    if event.loss is not None:
        parts.append(f"loss {event.loss:.3f}")
    if event.rate:
        parts.append(f"{event.rate:,.0f} {event.rate_unit}")
    if event.seconds_left is not None:
        parts.append(f"{duration(event.seconds_left)} left")
    return "  ".join([*parts, event.text] if event.text else parts)


def duration(seconds: float) -> str:
    """Hours, minutes and seconds: "2:01:05", or "1:15" below an hour."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def hours_text(hours: float) -> str:
    """Hours, or minutes below an hour: "1.5 h", "30.0 min"."""
    return f"{hours:.1f} h" if hours >= 1 else f"{60 * hours:.1f} min"


def _bars(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        TimeElapsedColumn(),
        TextColumn("{task.fields[numbers]}", markup=False),
        console=console,
        refresh_per_second=4,
    )
