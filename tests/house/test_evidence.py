import re
from pathlib import Path

import pytest

from quatrain.results import ResultStore
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGE = (RESULTS / "evidence.md").read_text()
COMMIT = re.findall(r"from commit `([0-9a-f]{7,40})`", PAGE)
ROWS = re.findall(r"^\| `(\w+)` \| `(.*?)` \| (\d+) \| (\d+) \|$", PAGE, re.MULTILINE)


def test_the_page_names_one_commit_and_the_studies():
    assert len(COMMIT) == 1
    assert f"git worktree add ../evidence {COMMIT[0]}" in PAGE
    assert {name for name, *_ in ROWS} == {"numerals_terms", "multi30k_terms"}


@pytest.mark.parametrize(("name", "cells", "runs", "done"), ROWS)
def test_the_records_are_runs_of_the_study_on_that_commit_and_counted(name, cells, runs, done):
    planned = {run.identity for run in load_study(ROOT / "studies" / f"{name}.py").select([cells])}
    records = ResultStore(RESULTS / "evidence" / name).all_records()
    assert len(planned) == int(runs)
    assert {record.identity for record in records} <= planned
    assert len(records) == int(done)
    assert {record.commit[: len(COMMIT[0])] for record in records} <= {COMMIT[0]}
    assert not any(record.earlier or record.commit.endswith("-dirty") for record in records)
