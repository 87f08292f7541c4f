import json
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from quatrain.cli.cost import app
from quatrain.paper.translation import CostRow
from quatrain.paper.vision import VisionCost

ROWS = [
    CostRow("figure-3c", "w/o", 1.75, 1.7439, 1.7591, ""),
    CostRow("figure-3c", "0110", 2.69, 2.7152, 2.7458, "plotted low"),
    CostRow("figure-3c", "0111", 2.69, 2.7152, 2.7458, "plotted low"),
]


@pytest.fixture(autouse=True)
def rows(monkeypatch):
    monkeypatch.setattr("quatrain.paper.translation.cost_rows", lambda: ROWS)


def test_json_rows_have_the_fields_of_the_comparison():
    result = CliRunner().invoke(app, ["paper", "--task", "translation", "--json"])
    assert result.exit_code == 0
    assert json.loads(result.stdout)[1] == {
        "table": "figure-3c",
        "config": "0110",
        "published": 2.69,
        "computed": 2.7152,
        "executed": 2.7458,
        "note": "plotted low",
    }


def test_the_table_shows_every_row_and_each_note_once():
    result = CliRunner().invoke(app, ["paper", "--task", "translation"])
    assert result.exit_code == 0
    assert "0110 (1)" in result.stdout
    assert "0111 (1)" in result.stdout
    assert "1.744" in result.stdout
    assert result.stdout.count("plotted low") == 1


def test_the_vision_tasks_have_the_overhead(monkeypatch):
    row = VisionCost("figure-3a", "0010", 221.1, 221.13, 215.94, 223.39, 7.45, note="")
    monkeypatch.setattr(
        "quatrain.paper.vision.cost_rows", lambda task: [row] * (task == "detection")
    )
    result = CliRunner().invoke(app, ["paper", "--task", "detection", "--json"])
    assert json.loads(result.stdout) == [
        {
            "table": "figure-3a",
            "config": "0010",
            "published": 221.1,
            "computed": 221.13,
            "base_computed": 215.94,
            "executed": 223.39,
            "overhead_executed": 7.45,
            "note": "",
        }
    ]
    table = CliRunner().invoke(app, ["paper", "--task", "detection"]).stdout
    assert "base computed: 215.940" in table
    assert all(word in table for word in ("figure-3a", "executed", "overhead", "223.390"))
    assert "221.130" in table


def test_a_task_that_is_not_in_the_paper_is_a_usage_error():
    result = CliRunner().invoke(app, ["paper", "--task", "chess"])
    assert result.exit_code == 2
    assert "chess" in result.output


def test_help_shows_an_example_and_does_not_import_torch():
    assert "Example: quatrain cost paper" in CliRunner().invoke(app, ["paper", "--help"]).stdout
    code = "import sys, quatrain.cli.cost; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
