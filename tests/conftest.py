"""What several rooms' tests share."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

# Kernels of a GPU are interpreted where there is none: Triton asks as torch is imported.
if not any(Path(each).exists() for each in ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")):
    os.environ.setdefault("TRITON_INTERPRET", "1")

# How long an example takes says what else the machine is doing, and no more.
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
    """What starts a worker that trains without torch."""
    return (sys.executable, str(FAKE / "worker.py"))


@pytest.fixture
def write_study(tmp_path: Path) -> Callable[..., Path]:
    """Write a study file with these cells, given as the source of a list."""

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
def one_thread():
    """Numbers are equal bit for bit at one number of threads; small products are fastest at one."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)
