"""Where a result came from: versions, device, commit. Kept with it, and never part of identity."""

import platform
import shutil
import subprocess
from importlib import metadata
from pathlib import Path

_PACKAGES = ("quatrain", "torch", "tokenizers", "sacrebleu", "numpy")


def versions() -> dict[str, str]:
    """The version of Python and of each package that can change a number."""
    return {"python": platform.python_version()} | {
        name: metadata.version(name) for name in _PACKAGES
    }


def device_name(device: str) -> str:
    """What a reader needs to compare seconds: the device and, if it is known, the model."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    table = Path("/proc/cpuinfo")
    lines = table.read_text().splitlines() if table.exists() else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{device} ({model})"


def commit_of(folder: Path) -> str | None:
    """The commit checked out in `folder`, with "-dirty" after it if files differ; None if none."""
    git = shutil.which("git")
    if git is None:
        return None
    found = subprocess.run(
        [git, "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"],
        capture_output=True,
        text=True,
        check=False,
    )
    return found.stdout.strip() or None
