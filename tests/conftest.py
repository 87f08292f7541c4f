"""Fixtures and settings that tests of several packages share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import settings

# Without a GPU, Triton interprets kernels; it reads the variable when torch is imported.
if not any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# Examples have no deadline: the machine may be busy.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the project; tests that need it are marked `data`."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip("the real data sets are not beside the project, in ../shared/data")
    return folder


FAKE = Path(__file__).parent / "fake"


@pytest.fixture
def command() -> tuple[str, ...]:
    """The command of a worker process that does not import torch."""
    return (sys.executable, str(FAKE / "worker.py"))


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a study file, with the source of its list of cells."""

    def write(cells: str, seeds: str = "(0, 1)", comparisons: str = "()") -> Path:
        path = tmp_path / "a_study.py"
        definition = (
            f"study = Study(title='A study', question='Does it count?', cells={cells}, "
            f"seeds={seeds}, metric='score', comparisons={comparisons})\n"
        )
        path.write_text((FAKE / "study.py").read_text() + "\n\n" + definition)
        return path

    return write


@pytest.fixture
def finish(tmp_path: Path):
    """Execute runs of a study file in this process, without workers and training."""
    from quatrain.results import ResultStore
    from quatrain.study import load_study
    from quatrain.study.execute import Environment, execute_run
    from quatrain.study.manifest import maintained_manifest

    def train(task, folder, *, seed, device, notify, should_stop=None):
        objective = task.spec.steps * task.spec.weight * (seed + 1)
        return SimpleNamespace(
            objective=objective,
            steps=task.spec.steps,
            seconds=0.5,
            weights=str(objective),
            notes=(),
            session_seconds=None,
        )

    def execute(path, cells=None, seeds=None):
        store = ResultStore(tmp_path / "out")
        environment = Environment(
            store=store, data=None, device="cpu", threads=1, commit=None, train=train
        )
        study = load_study(path)
        runs = study.select(cells, seeds)
        with maintained_manifest(store, study, runs):
            for run in runs:
                execute_run(run, environment, retry=False, notify=lambda _: None)
        return store

    return execute


@pytest.fixture
def one_thread():
    """One thread: results are bit for bit reproducible, and small products fastest."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
