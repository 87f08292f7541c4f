import re
from pathlib import Path

import pytest

from quatrain.report.write import write_report
from quatrain.results import Manifest, ResultStore
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/study.json"))
MADE = ("report.md", "report.csv", "accuracy_cost.svg", "matrix.svg")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_tables_and_figures_are_what_the_records_say(folder, tmp_path):
    write_report(ResultStore(folder), tmp_path)
    published, made = (
        {name: (at / name).read_text() for name in MADE if (at / name).exists()}
        for at in (folder / "report", tmp_path)
    )
    assert published.keys() == made.keys()
    assert [name for name, text in made.items() if published[name] != text] == []


def default_studies():
    text = (ROOT / "Makefile").read_text()
    return re.findall(r"^STUDIES := (.*)$", text, re.MULTILINE)[0].split()


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_what_is_published_are_runs_that_the_study_wants(folder):
    """All of them, of studies that anyone can run; of the others, those that were done."""
    manifest = load_study(ROOT / "studies" / f"{folder.name}.py").manifest()
    store = ResultStore(folder)
    assert store.manifest() == manifest
    wanted = {run for cell in manifest.cells for run in cell.identities.values()}
    published = {record.identity for record in store.all_records()}
    assert published <= wanted
    if folder.name in {"probes", "own_network", *default_studies()}:
        assert published == wanted


def test_manifests_from_before_there_were_expectations_are_still_read():
    text = (ROOT / "docs" / "results" / "numerals_terms" / "study.json").read_text()
    assert "expected" not in text
    assert Manifest.model_validate_json(text).cells[0].expected is None


def test_each_number_of_the_findings_is_in_a_report_or_a_measurement():
    findings = (ROOT / "docs" / "findings.md").read_text()
    sources = [folder / "report" / "report.md" for folder in PUBLISHED]
    sources += (ROOT / "docs" / "results").glob("*/hour.json")
    number = r"(?<![\w.])\d+\.\d\d?(?![\d.])"
    stated = set(re.findall(number, findings)) - {"12.7", "4.5"}  # of Student's t, and WMT14
    known = {each for path in sources for each in re.findall(number, path.read_text())}
    assert len(stated) > 10
    assert sorted(stated - known) == []
