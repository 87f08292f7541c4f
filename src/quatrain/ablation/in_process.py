"""Execution of a study in the process that defined it, for scripts and notebooks."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import chdir
from pathlib import Path

import torch

from quatrain.cli.observers import observe
from quatrain.cli.output import open_console, print_line
from quatrain.cli.report import print_report
from quatrain.report.build import Report, load_report
from quatrain.report.write import write_report
from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import Event, Run, Selection, Study
from quatrain.study.changes import check_stored_code, notes_on
from quatrain.study.execute import Environment, execute_run
from quatrain.study.load import is_loading
from quatrain.study.manifest import maintained_manifest
from quatrain.study.provenance import commit_of
from quatrain.study.resources import check_device
from quatrain.training import train
from quatrain.training.fingerprint import fingerprint

_POLL_SECONDS = 0.5


def execute(study: Study, out: Path, device: str, selection: Selection) -> Report:
    """Execute the selected runs that are not done yet, and report; see `Ablation.run`."""
    if is_loading():
        raise StudyError(
            "run() is called while the study file is loaded; write it under "
            'if __name__ == "__main__":',
            "run",
        )
    check_device(device)
    out = out.absolute()
    runs = study.select(selection.cells, selection.seeds)
    store = ResultStore(out)
    check_stored_code(store, runs)
    environment = Environment(
        store=store,
        data=None,
        device=device,
        threads=torch.get_num_threads(),
        commit=commit_of(Path.cwd()),
        train=train,
        fingerprint=fingerprint,
    )
    console = open_console()
    for note in notes_on(study, store, runs):
        print_line(console, f"Note: {note}")
    with (
        observe(console, out, len(runs), None, ()) as notify,
        maintained_manifest(store, study, runs),
    ):
        failed = _execute_all(runs, environment, selection.retry_failed, notify)
    report = load_report(store)
    page = write_report(report, out / "report")
    print_report(console, report)
    print_line(console, f"Report: {page}")
    if failed:
        first = failed[0]
        if failed[-1].external:
            raise StudyError(
                f"{failed[-1].label} ended the study: {failed[-1].message}; files, disks and "
                "packages concern all runs, so none is recorded as failed: call run() again after "
                "a change",
                "run",
            )
        raise StudyError(
            f"{len(failed)} of {len(runs)} runs failed, the first {first.label}: {first.message}; "
            f"its traceback is in {store.folder(first.identity)}/failure.json",
            "run",
        )
    return report


def _execute_all(
    runs: Sequence[Run], environment: Environment, retry: bool, notify: Callable[[Event], None]
) -> list[Event]:
    """Execute the runs, and wait for those of other processes; return the events of failures."""
    failed: list[Event] = []
    waiting = deque(runs)
    while waiting:
        with chdir(Path.cwd()):  # a run may change the current folder
            event = execute_run(waiting[0], environment, retry=retry, notify=notify)
        if event.kind == "locked":
            waiting.rotate(-1)
            time.sleep(_POLL_SECONDS)
            continue
        waiting.popleft()
        notify(event)
        if event.kind == "failed":
            failed.append(event)
            if event.external:
                break
    return failed
