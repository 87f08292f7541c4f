import json
import subprocess
import sys
from pathlib import Path

import pytest
from importlinter import api
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]

LOADED = """
import json, sys
from contextlib import redirect_stdout, suppress
with open("/dev/null", "w") as nowhere, redirect_stdout(nowhere), suppress(SystemExit):
    {code}
print(json.dumps(sorted(sys.modules)))
"""
MAIN = "import sys; sys.argv = {argv!r}; from quatrain.cli.main import main; main()"


def modules_after(code):
    """The modules that a fresh interpreter has loaded after running `code`."""
    child = subprocess.run(
        [sys.executable, "-c", LOADED.format(code=code)], capture_output=True, text=True, check=True
    )
    return json.loads(child.stdout)


def test_imports_point_down(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    status = lint_imports(config_filename="pyproject.toml", no_cache=True, no_logo=True)
    assert status == 0, capsys.readouterr().out


def test_the_import_contracts_are_configured():
    contracts = api.read_configuration(str(ROOT / "pyproject.toml"))["contracts_options"]
    assert {contract["type"] for contract in contracts} == {"layers", "forbidden"}


@pytest.mark.parametrize("room", ["specs", "results", "report.write", "study", "cli.main"])
def test_these_modules_do_not_import_torch(room):
    loaded = modules_after(f"import quatrain.{room}")
    assert f"quatrain.{room}" in loaded
    assert "torch" not in loaded


def test_attention_does_not_import_torchvision():
    """It takes two seconds to import, and brings half of torch's compiler with it."""
    loaded = modules_after("import quatrain.nn, quatrain.cost, quatrain.insertion")
    assert "quatrain.nn.deformable_conv" in loaded
    assert "torchvision" not in loaded


@pytest.mark.parametrize(
    "argv",
    [
        ["quatrain", "--help"],
        ["quatrain", "study", "run", "--help"],
        ["quatrain", "report", "--help"],
        ["quatrain", "cost", "paper", "--help"],
    ],
    ids=" ".join,
)
def test_help_does_not_import_torch(argv):
    loaded = modules_after(MAIN.format(argv=argv))
    assert "quatrain.cli.main" in loaded
    assert "torch" not in loaded


def test_status_and_report_do_not_import_torch(tmp_path):
    manifest = {
        "title": "t",
        "question": "q",
        "metric": "bleu",
        "cells": [{"name": "a", "group": "g", "spec_name": "S", "identities": {"0": "ab" * 32}}],
    }
    (tmp_path / "study.json").write_text(json.dumps(manifest))
    for argv in (["study", "status", str(tmp_path)], ["report", str(tmp_path)]):
        loaded = modules_after(MAIN.format(argv=["quatrain", *argv]))
        assert "quatrain.results.store" in loaded
        assert "torch" not in loaded
    assert (tmp_path / "report" / "report.html").exists()
