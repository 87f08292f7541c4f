"""Where a result came from: versions, device, commit. Kept with it, and never part of identity."""

import functools
import hashlib
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from quatrain import __version__

_PACKAGES = (
    "torch",
    "torchvision",
    "triton",
    "numpy",
    "pillow",
    "scikit-learn",
    "tokenizers",
    "sacrebleu",
    "faster-coco-eval",
)


def versions() -> dict[str, str]:
    """The version of Python and of each package here that can change a number.

    That of quatrain has a hash of its sources: of one version there are many.
    """
    own = f"{__version__}, sources {_sources()}"
    found = {"python": platform.python_version(), "quatrain": own}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


@functools.cache
def _sources() -> str:
    """Twelve digits of the SHA-256 of the package's modules, by their names and contents."""
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def device_name(device: str) -> str:
    """What a reader needs to compare seconds: the device and, if it is known, the model."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    table = Path("/proc/cpuinfo")
    lines = (
        table.read_text(encoding="utf-8", errors="replace").splitlines() if table.exists() else []
    )
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    model = models[0] if models else platform.machine()
    return f"{device} ({model})"


def commit_of(folder: Path) -> str | None:
    """The commit checked out in `folder`, or None outside of a repository.

    "-dirty" after it says that files differ from it, or that there are Python files not in it.
    """
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    new = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ":/*.py")
    return f"{commit}-dirty" if changed or new else commit


def _git(folder: Path, *words: str) -> str:
    """What git prints; nothing where there is no git, or it refuses."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(folder), *words]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
