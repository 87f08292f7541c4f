import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from fake.probes import finish, probe
from quatrain.cli.main import app

DOCS = Path(__file__).parents[2] / "docs"
CELLS = {("terms", "1111"): probe("1111"), ("terms", "0010"): probe("0010")}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    store, study = finish(tmp_path_factory.mktemp("cli") / "out", CELLS)
    return store.folder(study.select()[0].identity)


def invoke(*arguments):
    return CliRunner().invoke(app, ["knockout", *map(str, arguments)], catch_exceptions=False)


def test_tables_of_sets_cells_modules_and_shares(folder):
    result = invoke(folder)
    assert result.exit_code == 0
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0][:3] == ["terms/1111,", "seed", "0:"]
    assert ["Cells", "that", "were", "trained", "with", "these", "terms"] in lines
    assert sum(line[:1] == ["network.mixer"] for line in lines) == 3  # one module, two heads
    assert ["E1", "off", "E2", "off", "E3", "off"] in [line[1:7] for line in lines]


def test_a_number_that_is_not_that_of_the_record_is_noted(folder):
    path = folder / "record.json"
    text = path.read_text()
    record = json.loads(text)
    record["metrics"]["accuracy"] += 1
    path.write_text(json.dumps(record))
    assert "Note: the record of the run has" in invoke(folder).stdout
    path.write_text(text)


def test_json_has_all_results(folder):
    document = json.loads(invoke(folder, "--json", "--at", "**.mixer").stdout)
    assert [each["terms"] for each in document["results"][:2]] == ["0000", "0001"]
    assert [cell["cell"] for cell in document["retrained"]] == ["terms/0010"]
    shares = document["shares"]["network.mixer"]
    assert {len(heads) for heads in shares["variance"].values()} == {2}
    assert list(shares["mass"]) == ["1000", "0100", "0010", "0001"]


def test_the_published_numbers_are_those_of_the_json():
    document = json.loads((DOCS / "results" / "one_shot" / "knockout.json").read_text())
    cells = {}
    for cell in document["retrained"]:
        group, _, terms = cell["cell"].rpartition("/")
        cells[group.removeprefix("all "), terms] = cell
    page = (DOCS / "one_shot.md").read_text()
    for terms in {terms for _, terms in cells}:
        numbers = [
            f"{cells[group, terms][name]:.2f}"
            for group in ("encoder-decoder", "self")
            for name in ("knocked_out", "retrained")
        ]
        assert f"| {terms} | {' | '.join(numbers)} |" in page
