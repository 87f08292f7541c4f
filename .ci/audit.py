"""Check the packages that quatrain needs for published vulnerabilities, and list them.

    python .ci/audit.py                # what `quatrain[all,hub,tensorboard]` needs, as installed

Writes dist/quatrain-VERSION.cdx.json, the list in the CycloneDX format. The exit status is 1 if
pip-audit knows a vulnerability, and 3 if no package could be checked, as without a network.
"""

import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
EXTRAS = ("all", "hub", "tensorboard")
TOOLS = ("pip-audit>=2.9", "cyclonedx-bom>=7.0")
VULNERABLE, UNCHECKED = 1, 3


def closure(name: str, extras: Sequence[str]) -> dict[str, str]:
    """The installed version of each distribution that `name` with these extras needs, by name."""
    versions: dict[str, str] = {}
    pending, visited = [(name, frozenset(extras))], set[object]()
    while pending:
        key = pending.pop()
        if key in visited:
            continue
        visited.add(key)
        for text in metadata.requires(key[0]) or ():
            requirement = Requirement(text)
            environments = [{"extra": extra} for extra in ("", *key[1])]
            marker = requirement.marker
            if marker is None or any(map(marker.evaluate, environments)):
                needed = canonicalize_name(requirement.name)
                versions[needed] = metadata.version(needed)
                pending.append((needed, frozenset(requirement.extras)))
    versions.pop(canonicalize_name(name), None)
    return dict(sorted(versions.items()))


def install_tools() -> Path:
    """The programs of an environment of their own."""
    programs = ROOT / ".venv-audit" / "bin"
    if not all((programs / name).exists() for name in ("pip-audit", "cyclonedx-py")):
        venv.create(programs.parent, with_pip=True)
        pip = [programs / "python", "-m", "pip", "install", "--quiet"]
        subprocess.run([*pip, "--disable-pip-version-check", *TOOLS], check=True)
    return programs


def write_list(programs: Path, requirements: Path) -> Path:
    """Write the list of packages, which its own schema validates."""
    path = ROOT / "dist" / f"quatrain-{metadata.version('quatrain')}.cdx.json"
    path.parent.mkdir(exist_ok=True)
    options = ["--pyproject", ROOT / "pyproject.toml", "--mc-type", "library", "--validate"]
    options += ["--output-reproducible", "--output-file", path]
    subprocess.run([programs / "cyclonedx-py", "requirements", *options, requirements], check=True)
    return path


def audit(programs: Path, requirements: Path) -> int:
    """Ask the advisory service about each package, print the answers, return the exit status."""
    command = [programs / "pip-audit", "--requirement", requirements, "--no-deps", "--disable-pip"]
    command += ["--format", "json", "--progress-spinner", "off"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except ValueError:
        print("not checked: pip-audit ended with", (done.stderr.splitlines() or ["nothing"])[-1])
        return UNCHECKED
    skipped = [each["name"] for each in packages if "skip_reason" in each]
    for package in packages:
        for found in package.get("vulns", ()):
            fixed = ", ".join(found["fix_versions"]) or "no version"
            print(f"{package['name']} {package['version']}: {found['id']}, fixed in {fixed}")
    print(f"{len(packages) - len(skipped)} of {len(packages)} packages checked for vulnerabilities")
    if len(skipped) == len(packages):
        print("not checked: the advisory service knows no package, or is not reachable from here")
        return UNCHECKED
    if skipped:
        print("not checked, as the advisory service does not know them:", ", ".join(skipped))
    return VULNERABLE if any(each.get("vulns") for each in packages) else 0


def main() -> int:
    """Write the list, and check it."""
    try:
        programs = install_tools()
    except subprocess.CalledProcessError:
        print("not checked: pip-audit and cyclonedx-bom cannot be installed")
        return UNCHECKED
    packages = closure("quatrain", EXTRAS)
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder, "requirements.txt")
        # A local version, as of torch for CPUs, is not on the index.
        lines = [f"{name}=={text.partition('+')[0]}" for name, text in packages.items()]
        requirements.write_text("\n".join(lines) + "\n", encoding="utf-8")
        print(f"{write_list(programs, requirements).relative_to(ROOT)}: {len(lines)} packages")
        return audit(programs, requirements)


if __name__ == "__main__":
    sys.exit(main())
