import re
from pathlib import Path

import pytest

from quatrain.results import ResultStore
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs" / "results"
PAGE = (RESULTS / "evidence.md").read_text()
ROW = r"^\| `(\w+)` \| `([0-9a-f]{7,40})` \| `(.*?)` \| (\d+) \| (\d+) \|$"
ROWS = re.findall(ROW, PAGE, re.MULTILINE)


def test_the_page_has_a_row_and_a_command_for_each_study_with_evidence():
    names = [name for name, *_ in ROWS]
    assert {path.name for path in (RESULTS / "evidence").iterdir()} <= {*names}
    assert [name for name in names if f"study run studies/{name}.py" not in PAGE] == []
    assert len({*names}) == len(names)


@pytest.mark.parametrize(("name", "commit", "cells", "runs", "done"), ROWS)
def test_the_records_are_runs_of_the_study_on_that_commit_and_counted(
    name, commit, cells, runs, done
):
    planned = {run.identity for run in load_study(ROOT / "studies" / f"{name}.py").select([cells])}
    records = ResultStore(RESULTS / "evidence" / name).all_records()
    assert len(planned) == int(runs)
    assert {record.identity for record in records} <= planned
    assert len(records) == int(done)
    assert {record.commit[: len(commit)] for record in records} <= {commit}
    assert not any(record.earlier or record.commit.endswith("-dirty") for record in records)
