from pathlib import Path

import pytest

from quatrain.report.write import write_report
from quatrain.results import ResultStore

ROOT = Path(__file__).parents[2]
PUBLISHED = sorted(path.parent for path in (ROOT / "docs" / "results").glob("*/study.json"))
MADE = ("report.md", "report.csv", "accuracy_cost.svg")


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_published_tables_and_figures_are_what_the_records_say(folder, tmp_path):
    write_report(ResultStore(folder), tmp_path)
    differing = [
        name
        for name in MADE
        if (folder / "report" / name).read_text() != (tmp_path / name).read_text()
    ]
    assert differing == []


def test_the_default_study_is_published():
    assert "numerals_terms" in {folder.name for folder in PUBLISHED}
