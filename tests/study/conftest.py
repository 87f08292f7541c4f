from types import SimpleNamespace

import pytest

from quatrain.study import load_study
from quatrain.study.execute import Environment, execute_run
from quatrain.study.manifest import maintained_manifest


def count(task, folder, *, seed, device, notify):
    """The result of the fake task's training, without a worker process."""
    objective = task.spec.steps * task.spec.weight * (seed + 1)
    return SimpleNamespace(objective=objective, steps=task.spec.steps, seconds=0.5)


@pytest.fixture
def finish():
    """Execute the runs of a study file in this process; it has the fake task."""

    def execute(path, store, seeds=None):
        site = Environment(
            store=store, data=None, device="cpu", threads=1, commit=None, train=count
        )
        study = load_study(path)
        runs = study.select(None, seeds)
        with maintained_manifest(store, study, runs):
            for run in runs:
                execute_run(run, site, retry=False, notify=lambda _: None)

    return execute
