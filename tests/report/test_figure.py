import io
import os
import subprocess
import sys
from contextlib import redirect_stdout
from xml.etree import ElementTree

import matplotlib as mpl
import pytest

from quatrain.report.figure import open_figure, to_svg

DRAW = """
from quatrain.report.figure import open_figure, to_svg
with open_figure("test", (4.0, 3.0)) as figure:
    axes = figure.subplots()
    axes.plot([0, 1, 2], [3, 1, 2], "o-", label="a $x$ line")
    axes.set_xlabel("steps")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    print(to_svg(figure, "test"))
"""

ORDINARY = b"""text.usetex: True
font.family: monospace
font.size: 20
lines.markersize: 14
axes.prop_cycle: cycler('color', ['r'])
svg.fonttype: path
backend: nonsense
no such key: 1
"""
NOT_TEXT = b"font.family: caf\xe9"


def run(code, cwd=None, **environment):
    """The output of a Python process with these environment variables."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=cwd,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain():
    with redirect_stdout(io.StringIO()) as output:
        exec(DRAW, {})
    return output.getvalue()


@pytest.mark.parametrize("settings", [ORDINARY, NOT_TEXT], ids=["ordinary", "not text"])
def test_matplotlibrc_changes_no_byte(settings, plain, tmp_path):
    path = tmp_path / "matplotlibrc"
    path.write_bytes(settings)
    assert run(DRAW, MATPLOTLIBRC=str(path)) == plain


def test_backend_and_settings_in_the_working_folder_change_no_byte(plain, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(NOT_TEXT)
    assert run(DRAW, cwd=tmp_path, MPLBACKEND="nonsense") == plain


def test_missing_matplotlib_names_the_extra():
    code = """
import sys
from quatrain.specs import MissingPackageError
sys.modules["matplotlib"] = None
try:
    import quatrain.report.figure
except MissingPackageError as error:
    print(error.field)
"""
    assert run(code) == "matplotlib\n"


def test_figure_keeps_the_settings_of_the_process():
    with mpl.rc_context({"font.size": 17.0}):
        before = dict(mpl.rcParams)
        with open_figure("test", (4.0, 3.0)):
            assert mpl.rcParams["font.size"] == 11
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["\x00nul", "\x1b[31m", "a\r\nb", "\ufffe", "\x9b", "日本 😀"])
def test_svg_with_any_title_is_well_formed(name):
    with open_figure("test", (4.0, 3.0)) as figure:
        figure.subplots().set_title(name)
        svg = to_svg(figure, name)
    assert ElementTree.fromstring(svg) is not None
