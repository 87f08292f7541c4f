from pathlib import Path

import pytest

from fake.one_shot import CELLS, FIXED, SHARED, TRAINED, write
from quatrain.report.one_shot import one_shot_markdown, one_shot_report
from quatrain.results import ResultStore
from quatrain.specs import StudyError
from quatrain.study import load_study

ROOT = Path(__file__).parents[2]
ONE_SHOT = ROOT / "docs" / "results" / "one_shot"
PUBLISHED = sorted(path.parent for path in ONE_SHOT.glob("*/study.json"))


@pytest.fixture
def store(tmp_path):
    return ResultStore(tmp_path)


def test_cost_scores_and_order_of_each_training(store):
    write(store, CELLS)
    report = one_shot_report(store)
    sampled, sandwich = report.trainings
    assert (sampled.group, sampled.variant, sampled.seeds) == ("self", "sampled", 2)
    assert (sampled.cost, sandwich.cost) == (60 / 300, 30 / 300)
    assert sampled.scores == {terms: value + 0.5 for terms, value in SHARED.items()}
    assert (sampled.agreement.concordant, sampled.agreement.discordant) == (2, 1)
    assert sampled.tau_by_seed == (sampled.agreement.tau,) * 2
    assert report.trained["self"]["1000"] == {0: 80.0, 1: 81.5}


def test_the_cost_is_relative_to_all_planned_sets(store):
    write(store, CELLS)
    unfinished = next(cell for cell in store.manifest().cells if cell.label == "self/0110")
    for identity in unfinished.identities.values():
        (store.folder(identity) / "record.json").unlink()
    assert one_shot_report(store).trainings[0].cost == 60 / 300


def test_the_tables_have_one_row_per_training_and_per_set(store):
    write(store, CELLS)
    first, second = one_shot_markdown(one_shot_report(store)).split("\n\n")
    assert first.splitlines()[2] == (
        "| self | sampled | 2 | 20.0 | 0.33 | 2 of 3 | 0.33, 0.33 | 0.33 |"
    )
    assert [line.split(" | ")[0] for line in second.splitlines()[2:]] == [
        "| 1111",
        "| 1000",
        "| 0110",
    ]
    assert second.splitlines()[2] == "| 1111 | 2 | 90.50 | 70.50 | 70.50 |"


def test_a_study_without_one_shot_trainings_is_refused(store):
    write(store, {f"self/{terms}": FIXED for terms in TRAINED} | {"one-shot x/a": FIXED}, None)
    with pytest.raises(StudyError, match="no finished run of a group that begins with 'one-shot '"):
        one_shot_report(store)


def test_a_record_without_term_sets_is_refused(store):
    write(store, CELLS, None)
    with pytest.raises(StudyError, match="no metrics of term sets"):
        one_shot_report(store)


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_tables_are_generated_from_the_records(folder):
    page = (ROOT / "docs" / "one_shot.md").read_text()
    assert one_shot_markdown(one_shot_report(ResultStore(folder))) in page


@pytest.mark.parametrize("folder", PUBLISHED, ids=lambda folder: folder.name)
def test_the_published_records_are_runs_of_the_study(folder):
    study = load_study(ROOT / "studies" / f"{folder.name}_one_shot.py")
    store = ResultStore(folder)
    assert store.manifest() == study.manifest()
    records = store.all_records()
    assert {record.identity for record in records} <= {run.identity for run in study.select()}
    assert not any(record.earlier for record in records)
