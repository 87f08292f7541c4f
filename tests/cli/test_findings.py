import json

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.cost.count import ASSUMED
from quatrain.models.translator import TranslatorSpec
from quatrain.nn.mixers import parse_mixer
from quatrain.results import Manifest, ManifestCell, Record, ResultStore
from quatrain.specs import StudyError


@pytest.fixture
def folder(tmp_path):
    """Encoder-decoder attention of which 1111 is far better than 0111."""
    store, cells = ResultStore(tmp_path / "out"), []
    for number, (terms, score) in enumerate({"1111": 30.0, "0111": 25.0}.items()):
        model = TranslatorSpec(cross=parse_mixer(terms))
        identities = {seed: f"{number}{seed}" * 32 for seed in range(3)}
        for seed, identity in identities.items():
            store.write_record(
                Record(
                    cell=terms,
                    identity=identity,
                    seed=seed,
                    spec={"kind": "translation", "model": model.model_dump(mode="json")},
                    spec_name="TranslationSpec",
                    metrics={"bleu": score + 0.1 * seed * (1 + number)},
                    signatures={},
                    cost={},
                    versions={},
                    device="cpu",
                    threads=1,
                    commit=None,
                    data={},
                    artifacts=(),
                    steps=1,
                    seconds=1.0,
                )
            )
        cells.append(
            ManifestCell(
                name=terms, group="cross", spec_name="TranslationSpec", identities=identities
            )
        )
    store.write_manifest(Manifest(title="t", question="q", metric="bleu", cells=tuple(cells)))
    return store.root


def test_findings_are_printed_with_their_numbers(folder):
    done = CliRunner().invoke(app, ["findings", str(folder)], catch_exceptions=False)
    assert done.exit_code == 0
    assert "✓ 2." in done.output
    assert "1111 - 0111 in BLEU is +4.9" in done.output.replace("\n", " ")


def test_json_has_statements_and_what_is_missing(folder):
    done = CliRunner().invoke(app, ["findings", str(folder), "--json"], catch_exceptions=False)
    (found,) = json.loads(done.output)
    assert (found["number"], found["conclusion"]) == (2, "holds")
    assert found["statements"][0]["published"] == 0.75
    assert found["statements"][0]["mmdetection"] is None
    assert found["missing"] == ["1111 - 1000"]


def test_a_study_without_such_cells_says_so(folder):
    for path in folder.glob("runs/*/record.json"):
        path.unlink()
    done = CliRunner().invoke(app, ["findings", str(folder)], catch_exceptions=False)
    assert "no finished runs" in done.output


def test_the_page_has_the_gpu_hours_of_planned_studies(folder, write_study):
    path = write_study("[cell('a'), cell('b', weight=2)]", "(0, 1, 2)")
    method = "    def gpu_hours(self):\n        return 30.0\n\n    def open("
    path.write_text(path.read_text().replace("    def open(", method))
    words = ["findings", "--markdown", str(folder), "--planned", str(path)]
    page = CliRunner().invoke(app, words, catch_exceptions=False).output
    (row,) = [line for line in page.splitlines() if line.endswith(" 180 |")]
    assert row.split(" | ")[1:] == ["6", "–", "–", "–", "–", "3", "180 |"]
    assert f"arithmetic at {ASSUMED}" in page
    assert str(path.parent) not in page
    assert f" --planned {path.name}`" in page


def test_a_planned_study_below_the_current_folder_has_its_relative_path(
    folder, write_study, monkeypatch
):
    path = write_study("[cell('a')]")
    monkeypatch.chdir(path.parents[1])
    words = ["findings", "--markdown", str(folder), "--planned", str(path)]
    page = CliRunner().invoke(app, words, catch_exceptions=False).output
    assert f" --planned {path.relative_to(path.parents[1])}`" in page


def test_gpu_hours_are_unknown_if_those_of_a_run_are(folder, write_study):
    path = write_study("[cell('a'), cell('b', weight=2)]", "(0, 1, 2)")
    method = "    def gpu_hours(self):\n        return 30.0 if self.weight == 2 else None\n\n"
    path.write_text(path.read_text().replace("    def open(", f"{method}    def open("))
    words = ["findings", "--markdown", str(folder), "--planned", str(path)]
    page = CliRunner().invoke(app, words, catch_exceptions=False).output
    (row,) = [line for line in page.splitlines() if f"({path.name}) |" in line]
    assert row.endswith("| 3 | – |")


def test_planned_studies_need_the_page(folder, write_study):
    done = CliRunner().invoke(
        app, ["findings", str(folder), "--planned", str(write_study("[cell('a')]"))]
    )
    assert isinstance(done.exception, StudyError)
    assert "--markdown" in str(done.exception)
