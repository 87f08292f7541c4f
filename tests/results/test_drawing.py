import os
import subprocess
import sys

import pytest

from quatrain.results.drawing import default_settings, load_matplotlib
from quatrain.specs import MissingPackageError

LOAD = """
from quatrain.results.drawing import load_matplotlib
print(load_matplotlib().rcParams["font.size"])
"""


@pytest.mark.parametrize(
    ("environment", "size"),
    [({}, "20.0"), ({"MPLBACKEND": "nonsense"}, "10.0")],
    ids=["usable settings", "unusable backend"],
)
def test_unusable_settings_of_the_user_are_left_out(environment, size, tmp_path):
    path = tmp_path / "matplotlibrc"
    path.write_text("font.size: 20\n")
    done = subprocess.run(
        [sys.executable, "-c", LOAD],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "MATPLOTLIBRC": str(path), **environment},
    )
    assert (done.stdout.strip(), done.returncode) == (size, 0), done.stderr


def test_settings_are_those_of_matplotlib_in_any_context():
    with load_matplotlib().rc_context({"font.size": 33}):
        settings = default_settings()
    assert settings["font.size"] == 10
    assert "backend" not in settings


def test_a_missing_matplotlib_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError) as raised:
        load_matplotlib()
    assert "quatrain[study]" in str(raised.value)
