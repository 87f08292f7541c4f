import pytest

from quatrain.report.groups import Groups
from quatrain.report.guards import guard_notes
from quatrain.report.runs import load_runs


@pytest.fixture
def notes(store):
    def build():
        study = load_runs(store)
        return [note.text for note in guard_notes(study, Groups(study))]

    return build


def spec(terms, steps=100):
    return {
        "model": {"mixer": {"kind": "attention", "terms": terms}},
        "recipe": {"steps": steps},
    }


def write(store, make_record, cell, score, **changes):
    for seed in range(3):
        store.write_record(make_record(cell, seed, score + seed, **changes))


def test_cells_that_differ_in_their_mixer_alone_are_not_noted(store, make_record, notes):
    for cell, score in (("1111", 31.0), ("0110", 30.0)):
        write(store, make_record, cell, score, spec=spec(cell))
    assert [note for note in notes() if "1111 − 0110" in note] == []


def test_another_difference_is_named(store, make_record, notes):
    write(store, make_record, "1111", 31.0, spec=spec("1111"))
    write(store, make_record, "0110", 30.0, spec=spec("0110", steps=200))
    (note,) = [note for note in notes() if "1111 − 0110" in note]
    assert "(recipe.steps)" in note


def test_cells_with_equal_metrics_are_noted(store, make_record, notes):
    assert [note for note in notes() if "equal metrics" in note] == []
    for cell in ("1111", "0110"):
        write(store, make_record, cell, 31.0, spec=spec(cell))
    (note,) = [note for note in notes() if "equal metrics" in note]
    assert "1111, 0110 (self)" in note
