import json
import math
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner

from quatrain.cli.main import app
from quatrain.report.build import load_report
from quatrain.report.findings_page import findings_page
from quatrain.report.runs import drop_unstarted_groups, load_runs
from quatrain.report.write import write_report
from quatrain.results import Manifest, ResultStore
from quatrain.specs.notation import differences
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/study.json"))


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_tables_and_figures_are_generated_from_the_records(folder, tmp_path):
    write_report(load_report(ResultStore(folder)), tmp_path)
    published, generated = (
        {path.name: path.read_text() for path in at.iterdir()}
        for at in (folder / "report", tmp_path)
    )
    assert published.keys() == generated.keys()
    assert [name for name, text in generated.items() if not alike(published[name], text)] == []


NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?")


def alike(first, second):
    """Whether texts are equal up to the last digits of numbers, which differ between libraries."""
    if first == second:
        return True
    pairs = zip(NUMBER.findall(first), NUMBER.findall(second), strict=False)
    return NUMBER.split(first) == NUMBER.split(second) and all(
        math.isclose(float(one), float(other), rel_tol=1e-9, abs_tol=1e-12) for one, other in pairs
    )


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("p=0.25 x", "p=0.25 x", True),
        ("p=12.933333333333335", "p=12.933333333333334", True),
        ("p=0.25", "p=0.2500001", False),
        ("p=0.25 x", "p=0.25 y", False),
        ("1 2", "1", False),
    ],
)
def test_published_numbers_are_compared_up_to_their_last_digits(first, second, expected):
    assert alike(first, second) == expected


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_specs_are_equal_to_those_of_this_version(folder):
    """Each field that was added to specs since is in `ADDED_FIELDS`."""
    study = load_study(ROOT / "studies" / f"{folder.name}.py")
    specs = {run.identity: run.spec.model_dump(mode="json") for run in study.select()}
    pairs = [(each.spec, specs.get(each.identity)) for each in ResultStore(folder).all_records()]
    compared = [differences(stored, spec) for stored, spec in pairs if spec is not None]
    assert len(compared) > 0
    assert set(compared) == {((), ())}


def runs_of(manifest):
    return {run for cell in manifest.cells for run in cell.identities.values()}


def default_studies():
    text = (ROOT / "Makefile").read_text()
    return re.findall(r"^STUDIES := (.*)$", text, re.MULTILINE)[0].split()


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_runs_belong_to_the_study(folder):
    """For studies that anyone can run, all runs of the started groups are published."""
    manifest = load_study(ROOT / "studies" / f"{folder.name}.py").manifest()
    store = ResultStore(folder)
    assert store.manifest() == manifest
    published = {record.identity for record in store.all_records()}
    assert published <= runs_of(manifest)
    if folder.name in {"probes", "own_network", *default_studies()}:
        assert published == runs_of(drop_unstarted_groups(load_runs(store)).manifest)


def test_manifests_without_expectations_are_read():
    text = (ROOT / "docs" / "results" / "numerals_terms" / "study.json").read_text()
    older = json.loads(text)
    for cell in older["cells"]:
        del cell["expected"]
    assert Manifest.from_json(json.dumps(older), "") == Manifest.from_json(text, "")


def without_plans(page):
    """The page without the studies that are not run: their GPU hours take a minute."""
    page = re.sub(r" --planned [^ `]+", "", page)
    return re.sub(r"^## Planned studies at full scale\n.*?(?=^## )", "", page, flags=re.M | re.S)


def test_the_page_of_findings_is_generated_from_the_records():
    page = (ROOT / "docs" / "findings.md").read_text()
    reports = {folder.name: load_report(ResultStore(folder)) for folder in PUBLISHED}
    assert without_plans(page) != page
    assert alike(without_plans(page), findings_page(reports))


@pytest.mark.slow
def test_the_page_of_findings_is_generated_by_its_command(monkeypatch):
    """The command on the page, whose `dirname` gives the folders of results."""
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs" / "findings.md").read_text()
    command = re.findall(r"`quatrain (findings [^`]*)`", page)[0]
    folders = " ".join(str(folder.relative_to(ROOT)) for folder in PUBLISHED)
    words = re.sub(r"\$\(.*?\)", folders, command).split()
    assert words.count("--planned") == len([*(ROOT / "studies").glob("paper_*.py")])
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert alike(page, done.stdout)


def test_each_number_of_the_log_of_results_is_in_a_report_or_a_measurement():
    findings = (ROOT / "docs" / "log" / "results.md").read_text()
    sources = [folder / "report" / "report.md" for folder in PUBLISHED]
    sources += (ROOT / "docs" / "results").glob("*/hour.json")
    number = r"(?<![\w.])\d+\.\d\d?(?![\d.])"
    stated = set(re.findall(number, findings)) - {"4.5"}  # of WMT14
    known = {each for path in sources for each in re.findall(number, path.read_text())}
    assert len(stated) > 10
    assert sorted(stated - known) == []
