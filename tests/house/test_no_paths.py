import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HERE = re.compile(r"(?<![\w.])/(home|tmp|root|work|Users)/[\w.]")
INDEX = re.compile(r"--(extra-)?index-url|\bindex-url *=|pypi\.org/simple|\bfiles\.pythonhosted\b")


def tracked():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        [git, "-C", str(ROOT), "ls-files", "-z"], capture_output=True, text=True, check=True
    )
    names = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [path for path in names if path.is_file() and path != Path(__file__)]


def offenders(pattern):
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if pattern.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}")
    return found


def test_no_tracked_file_has_a_path_of_a_machine():
    assert offenders(HERE) == []


def test_no_tracked_file_has_a_package_index():
    assert offenders(INDEX) == []
