"""The wheel and the sdist: their contents, and the library in an environment without extras."""

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from quatrain.specs import extras
from quatrain.study.templates import TEMPLATES

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
DATA = {".png", ".jpg", ".npz", ".svg", ".csv", ".safetensors"}


pytestmark = pytest.mark.timeout(900)
"""The first import of torch in a new environment takes minutes on a busy machine."""


def run(*command, cwd):
    """Run a program without the import paths of the tests."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist of this checkout, and the wheel that is built from the sdist."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-d", folder]
    built = run(*build, "-t", "sdist", cwd=ROOT)
    assert built.returncode == 0, built.stderr
    [sdist] = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extractall(folder / "source", filter="data")
    [source] = (folder / "source").iterdir()
    built = run(*build, "-t", "wheel", cwd=source)
    assert built.returncode == 0, built.stderr
    [wheel] = folder.glob("*.whl")
    return sdist, wheel


def core_closure():
    """The installed distributions that the core dependencies need, and need in turn."""
    pending, closure = [(each, {""}) for each in PROJECT["dependencies"]], {}
    while pending:
        text, extras_of_parent = pending.pop()
        requirement = Requirement(text)
        marker = requirement.marker
        if marker and not any(marker.evaluate({"extra": extra}) for extra in extras_of_parent):
            continue
        key = (canonicalize_name(requirement.name), frozenset(requirement.extras))
        if key not in closure:
            closure[key] = metadata.distribution(requirement.name)
            pending += [(each, {"", *requirement.extras}) for each in closure[key].requires or ()]
    return closure


@pytest.fixture(scope="module")
def core(distributions, tmp_path_factory):
    """An environment that holds the wheel and its core dependencies, and nothing else."""
    folder = tmp_path_factory.mktemp("core")
    venv.create(folder, with_pip=False, symlinks=True)
    [packages] = folder.glob("lib/python*/site-packages")
    for distribution in core_closure().values():
        tops = {path.parts[0] for path in distribution.files or ()} - {"..", "__pycache__"}
        for top in tops:
            origin = Path(str(distribution.locate_file(top)))
            if not (packages / top).exists():
                (packages / top).symlink_to(origin)
    pip = [sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"]
    done = run(*pip, "--no-deps", "--no-index", "--quiet", distributions[1], cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.mark.slow
def test_the_wheel_holds_the_package_and_no_tests_or_data(distributions):
    names = zipfile.ZipFile(distributions[1]).namelist()
    studies = {f"quatrain/study/templates/{each.file}" for each in TEMPLATES.values()}
    page = {f"templates/report.{kind}" for kind in ("html.j2", "css", "js")}
    files = page | {"templates/figure.css", "references.bib", "report.schema.json"}
    assert studies | {f"quatrain/report/{file}" for file in files} <= {*names}
    assert "quatrain/py.typed" in names
    assert all(re.match(r"quatrain(/|-[\d.]+\.dist-info/)", name) for name in names)
    assert not [name for name in names if re.search(r"(^|/)(tests|test_\w+\.py|conftest)", name)]
    assert not {Path(name).suffix for name in names} & DATA


@pytest.mark.slow
def test_the_sdist_holds_what_the_wheel_is_built_from(distributions):
    with tarfile.open(distributions[0]) as archive:
        tops = {Path(name).parts[1] for name in archive.getnames()}
        suffixes = {Path(name).suffix for name in archive.getnames()}
    assert tops == {"src", "studies", ".gitignore", "pyproject.toml", "PKG-INFO"} | {
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "CITATION.cff",
    }
    assert not suffixes & DATA


@pytest.mark.slow
def test_the_library_example_of_the_readme_runs_without_extras(core, tmp_path):
    example = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)[0]
    done = run(core / "bin" / "python", "-W", "error", "-c", example, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_program_names_the_extra_that_it_needs(core, tmp_path):
    done = run(core / "bin" / "quatrain", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert 'pip install "quatrain[study]"' in done.stderr
    assert done.stderr.count("\n") == 1


MISSING = """
from quatrain import MissingPackageError
for line in {lines!r}:
    try:
        exec(line)
    except MissingPackageError as error:
        print(error)
"""


@pytest.mark.slow
def test_a_missing_extra_is_named_with_the_command(core, tmp_path):
    lines = {
        "import quatrain.models.resnet": "vision",
        "import quatrain.models.detector": "vision",
        "import quatrain.tasks.detection": "vision",
        "import quatrain.tasks.translation": "translation",
    }
    done = run(core / "bin" / "python", "-c", "import quatrain.tasks.probes", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    done = run(core / "bin" / "python", "-c", MISSING.format(lines=list(lines)), cwd=tmp_path)
    commands = [line.partition("; run ")[2] for line in done.stdout.splitlines()]
    assert commands == [f'pip install "quatrain[{extra}]"' for extra in lines.values()]


def test_each_package_of_an_extra_is_known_by_its_import_name():
    by_import = metadata.packages_distributions()
    assert extras._PACKAGES["trackio"] == ("trackio",)  # not in `dev`: it needs an older pillow
    for extra, modules in extras._PACKAGES.items() - {("trackio", ("trackio",))}:
        known = {canonicalize_name(by_import[module][0]) for module in modules}
        listed = {Requirement(each).name for each in PROJECT["optional-dependencies"][extra]}
        assert known == listed
