import os
import subprocess
import sys
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
    figure.legend(loc="outside upper left")
    print(to_svg(figure, "test"))
"""

SETTINGS = {
    "usetex": b"text.usetex: True",
    "fonts": b"font.family: monospace\nfont.size: 20\nmathtext.fontset: stix",
    "marks": b"lines.markersize: 14\naxes.prop_cycle: cycler('color', ['r'])\nsvg.fonttype: path",
    "backend": b"backend: nonsense\naxes.grid: maybe\nno such key: 1",
    "not text": b"font.family: caf\xe9",
}


def draw(**environment):
    done = subprocess.run(
        [sys.executable, "-c", DRAW],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
        cwd=environment.get("cwd"),
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    return draw(MPLCONFIGDIR=str(tmp_path_factory.mktemp("empty")))


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
def test_the_settings_of_the_user_change_no_byte(settings, plain, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(settings)
    assert draw(MPLCONFIGDIR=str(tmp_path)) == plain


def test_settings_in_the_working_folder_change_no_byte(plain, tmp_path):
    (tmp_path / "matplotlibrc").write_bytes(SETTINGS["not text"])
    assert draw(cwd=str(tmp_path)) == plain


@pytest.mark.parametrize("backend", ["nonsense", "tkagg", "module://absent"])
def test_the_backend_of_the_user_does_not_matter(backend, plain):
    assert draw(MPLBACKEND=backend) == plain


def test_a_figure_leaves_the_settings_of_its_process_as_they_were():
    with mpl.rc_context({"font.size": 17.0}):
        before = dict(mpl.rcParams)
        with open_figure("test", (4.0, 3.0)):
            assert mpl.rcParams["font.size"] == 11
        assert dict(mpl.rcParams) == before


@pytest.mark.parametrize("name", ["\x00nul", "\x1b[31m", "a\r\nb", "\ufffe", "\x9b", "日本 😀"])
def test_a_name_of_any_letters_makes_a_well_formed_svg(name):
    with open_figure("test", (4.0, 3.0)) as figure:
        figure.subplots().set_title(name)
        svg = to_svg(figure, name)
    assert ElementTree.fromstring(svg) is not None
