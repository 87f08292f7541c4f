import json

from typer.testing import CliRunner

from fake.one_shot import CELLS, write
from quatrain.cli.main import app
from quatrain.results import ResultStore


def invoke(*arguments):
    return CliRunner().invoke(app, ["one-shot", *map(str, arguments)], catch_exceptions=False)


def test_tables_and_json_have_the_same_numbers(tmp_path):
    write(ResultStore(tmp_path), CELLS)
    tables, document = invoke(tmp_path).stdout, json.loads(invoke(tmp_path, "--json").stdout)
    assert [training["variant"] for training in document["trainings"]] == ["sampled", "sandwich"]
    for training in document["trainings"]:
        assert f"| {training['group']} | {training['variant']} | {training['seeds']} |" in tables
        assert f" {training['agreement']['tau']:.2f} |" in tables
