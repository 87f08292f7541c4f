import csv
import random
import re

import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.write import write_report
from quatrain.results import Comparison

ALWAYS = {
    "report.html",
    "report.md",
    "report.tex",
    "report.json",
    "report.csv",
    "accuracy_cost.svg",
}
NAMES = ALWAYS | {"differences.csv", "effects.csv", "references.bib"}


def test_report_is_written_as_the_same_bytes_twice(report, files, tmp_path):
    page = write_report(report, tmp_path)
    assert page == tmp_path / "report.html"
    assert {path.name for path in tmp_path.iterdir()} == NAMES
    for name in NAMES:
        assert (tmp_path / name).read_bytes() == (files / name).read_bytes()


def test_matrix_is_a_file_and_a_part_of_the_pages(matrix_report, tmp_path):
    page = write_report(matrix_report, tmp_path).read_text()
    assert {path.name for path in tmp_path.iterdir()} == ALWAYS | {"matrix.svg"}
    assert '<table class="heat">' in page
    assert "a bag | &lt;counted&gt;" in page
    assert "40.0 (≤ 25, not met)" in (tmp_path / "report.md").read_text()


@pytest.fixture
def empty_store(store):
    for path in store.root.glob("runs/*/*.json"):
        path.unlink()
    return store


def test_study_without_finished_run_is_reported(empty_store, tmp_path):
    report = load_report(empty_store)
    write_report(report, tmp_path / "out")
    assert {row.seeds_done for row in report.table.rows} == {0}
    assert {row.answer for row in report.differences.rows} == {None}
    assert {path.name for path in (tmp_path / "out").iterdir()} == ALWAYS | {"differences.csv"}


def test_files_of_an_earlier_report_that_have_no_content_now_are_removed(report, tmp_path):
    for name in ("matrix.svg", "effects.csv", "notes.txt"):
        (tmp_path / name).write_text("old")
    write_report(report, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {*NAMES, "notes.txt"}
    assert (tmp_path / "effects.csv").read_text().startswith("group,effect,terms,metric,mean,low")


def test_references_are_those_that_the_latex_document_cites(grid_report, tmp_path):
    write_report(grid_report, tmp_path)
    document = (tmp_path / "report.tex").read_text()
    cited = {key for keys in re.findall(r"\\cite\{([^}]*)\}", document) for key in keys.split(",")}
    entries = re.findall(
        r"^@\w+\{([^,]+),", (tmp_path / "references.bib").read_text(), re.MULTILINE
    )
    assert set(entries) == cited
    assert len(entries) == len(cited) > 5


def test_csv_files_have_no_formulas(hostile_report, tmp_path):
    write_report(hostile_report, tmp_path)
    for name in ("report.csv", "differences.csv"):
        with (tmp_path / name).open(newline="") as file:
            fields = [field for row in csv.reader(file) for field in row]
        texts = [field for field in fields if not re.fullmatch(r"-?[\d.]+(e[+-]?\d+)?", field)]
        assert "'=1+1" in texts
        assert not [field for field in texts if field[:1] in set("=+-@")]


@pytest.mark.slow
@pytest.mark.parametrize("groups", [1, 10])
def test_ten_thousand_records_are_a_page_of_less_than_ten_megabytes(groups, tmp_path):
    draw = random.Random(0).gauss
    size = 500 // groups
    values = {
        (f"g{group}", f"c{cell}"): {
            seed: {"accuracy": draw(cell / 50, 0.5), "loss": draw(2, 0.1)} for seed in range(20)
        }
        for group in range(groups)
        for cell in range(size)
    }
    comparisons = tuple(
        Comparison(group=f"g{group}", left=f"c{cell}", right="c0")
        for group in range(groups)
        for cell in range(1, size)
    )
    store = write_results(tmp_path, values, comparisons=comparisons, margin=0.5)
    page = write_report(load_report(store), tmp_path / "report")
    assert page.stat().st_size < 10_000_000
