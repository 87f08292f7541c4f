"""What `study run` shows and writes while runs are executed: progress, a local page, logs."""

from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path

from rich.console import Console

from quatrain.cli.display import Display
from quatrain.cli.output import print_line
from quatrain.report.live import LivePage
from quatrain.results import ResultStore
from quatrain.study import Event
from quatrain.study.sinks import forward_logs, open_sinks


@contextmanager
def observe(
    console: Console, folder: Path, runs: int, port: int | None, log_to: Iterable[str]
) -> Generator[Callable[[Event], None]]:
    """In the block, runs are shown and logged; yields the function for their events.

    A page or a log that fails ends with a note, and the study continues.

    Args:
        console: for progress and notes.
        folder: the folder of results.
        runs: the number of runs.
        port: the port of a local page with the report, 0 for a free one; None for no page.
        log_to: names of `SINKS`.

    Raises:
        StudyError: if a name is unknown.
        MissingPackageError: if the package of one is not installed.
    """

    def note(text: str) -> None:
        print_line(console, f"note: {text}")

    sinks = open_sinks(log_to, folder)
    with ExitStack() as stack:
        if port is not None:
            _show_page(stack, folder, port, note)
        write_logs = stack.enter_context(forward_logs(ResultStore(folder), sinks, note))
        display = stack.enter_context(Display(console, runs))

        def notify(event: Event) -> None:
            display.notify(event)
            write_logs(event)

        yield notify


def _show_page(stack: ExitStack, folder: Path, port: int, note: Callable[[str], None]) -> None:
    try:
        page = stack.enter_context(LivePage(folder, port=port))
    except OSError as error:
        place = f"port {port} of this machine" if port else "a port of this machine"
        note(f"no page: {place} cannot be used ({error.strerror or error}); the study continues")
    else:
        note(f"the report is at {page.address} until the study ends")
