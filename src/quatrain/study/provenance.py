"""Provenance of a result: versions, device, commit. Stored with it, and not in its identity."""

import functools
import hashlib
import platform
import shutil
import subprocess
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from quatrain import __version__
from quatrain.study.templates import TEMPLATE_FOLDER

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
    """The versions of Python and of each installed package that can change a number.

    The version of quatrain includes a hash of its sources.
    """
    quatrain = f"{__version__}, sources {_hash_of_sources()}"
    return {"python": platform.python_version(), "quatrain": quatrain, **_versions_of_packages()}


@functools.cache
def _versions_of_packages() -> dict[str, str]:
    """The installed versions; a process keeps the modules that it has imported."""
    versions: dict[str, str] = {}
    for name in _PACKAGES:
        with suppress(metadata.PackageNotFoundError):
            versions[name] = metadata.version(name)
    return versions


@functools.cache
def _hash_of_sources() -> str:
    """Twelve digits of the SHA-256 of the package's modules, their names and contents.

    The copies of the studies, which a wheel has and an editable installation lacks, do not count.
    """
    package = Path(__file__).parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        if path.parent == TEMPLATE_FOLDER:
            continue
        content = path.read_bytes()
        digest.update(f"{path.relative_to(package).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:12]


def device_name(device: str) -> str:
    """The device with its model, as far as it is known."""
    if device.startswith("cuda"):
        import torch

        return f"{device} ({torch.cuda.get_device_name(device)})"
    model = platform.machine()
    with suppress(OSError):
        table = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
        lines = (line.partition(":") for line in table.splitlines())
        model = next(
            (value.strip() for name, _, value in lines if name[:10] == "model name"), model
        )
    return f"{device} ({model})"


def commit_of(folder: Path) -> str | None:
    """The commit checked out in `folder`, or None outside of a repository.

    It ends in "-dirty" if files differ from it, or if there are Python files that are not in it.
    """
    commit = _git(folder, "rev-parse", "--verify", "--quiet", "HEAD")
    if not commit:
        return None
    changed = _git(folder, "status", "--porcelain", "--untracked-files=no")
    new = _git(folder, "ls-files", "--others", "--exclude-standard", "--", ":/*.py")
    return f"{commit}-dirty" if changed or new else commit


def _git(folder: Path, *arguments: str) -> str:
    """The output of git; empty if git is missing or fails."""
    git = shutil.which("git")
    if git is None:
        return ""
    command = [git, "-C", str(folder), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()
