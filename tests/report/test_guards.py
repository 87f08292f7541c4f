import pytest

from fake.results import put_record
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
        put_record(store, make_record(cell, seed, score + seed, **changes))


def test_cells_that_differ_in_their_mixer_alone_are_not_noted(store, make_record, notes):
    for cell, score in (("1111", 31.0), ("0110", 30.0)):
        write(store, make_record, cell, score, spec=spec(cell))
    assert [note for note in notes() if "1111 − 0110" in note] == []


def test_another_difference_is_named(store, make_record, notes):
    write(store, make_record, "1111", 31.0, spec=spec("1111"))
    write(store, make_record, "0110", 30.0, spec=spec("0110", steps=200))
    (note,) = [note for note in notes() if "1111 − 0110" in note]
    assert "(recipe.steps)" in note


def fingerprinted(store, make_record, losses, **specs):
    """Records of 1111 and 0110 with fingerprints by cell and seed."""
    for cell, own in zip(("1111", "0110"), losses, strict=True):
        for seed, loss in enumerate(own):
            fields = {"spec": specs.get(cell) or spec(cell)}
            if loss is not None:
                fields["fingerprint"] = (loss, 2 * loss, 3.0)
            put_record(store, make_record(cell, seed, 30.0 + seed + len(cell[1:]), **fields))


def same_function(notes):
    return [note for note in notes if "compute the same" in note]


def test_cells_with_equal_fingerprints_are_noted_with_the_fields_that_have_no_effect(
    store, make_record, notes
):
    fingerprinted(store, make_record, [(1.5, 1.25, None), (1.5000001, 1.25, 1.75)])
    assert same_function(notes()) == [
        "equal losses for equal random parameters, so these cells compute the same: 1111, 0110 "
        "(self), without an effect of model.mixer"
    ]


@pytest.mark.parametrize(
    "losses",
    [
        [(1.5, 1.25, 1.75), (1.5, 1.26, 1.75)],
        [(1.5, None, None), (None, 1.5, 1.75)],
        [(None, None, None), (None, None, None)],
    ],
    ids=["a seed differs", "no common seed", "older records"],
)
def test_cells_with_other_fingerprints_are_not_noted(store, make_record, notes, losses):
    fingerprinted(store, make_record, losses)
    assert [text for text in same_function(notes()) if "random parameters" in text] == []


def test_cells_that_differ_in_their_recipe_alone_may_compute_the_same(store, make_record, notes):
    specs = {"1111": spec("1111"), "0110": spec("1111", steps=200)}
    fingerprinted(store, make_record, [(1.5, 1.25, 1.75)] * 2, **specs)
    assert [text for text in same_function(notes()) if "random parameters" in text] == []


def test_cells_with_equal_fingerprints_and_metrics_have_one_note(store, make_record, notes):
    for cell in ("1111", "0110"):
        fields = {"spec": spec(cell), "fingerprint": (1.5, 2.5, 3.5)}
        write(store, make_record, cell, 31.0, **fields)
    (text,) = same_function(notes())
    assert "random parameters" in text


def test_equal_fingerprints_of_other_groups_are_not_noted(store, make_record, notes):
    for cell in ("0110", "1000"):
        fields = {"spec": spec(cell), "fingerprint": (1.5, 2.5, 3.5)}
        write(store, make_record, cell, 31.0 + int(cell), **fields)
    assert same_function(notes()) == []


def test_cells_with_equal_metrics_are_noted(store, make_record, notes):
    assert [note for note in notes() if "equal metrics" in note] == []
    for cell in ("1111", "0110"):
        write(store, make_record, cell, 31.0, spec=spec(cell))
    (note,) = [note for note in notes() if "equal metrics" in note]
    assert "1111, 0110 (self)" in note


def test_notes_of_runs_have_their_cells_and_seeds(store, make_record, notes):
    write(store, make_record, "1111", 31.0, notes=("the training changed no weight",))
    put_record(store, make_record("0110", 0, 30.0, notes=("the training changed no weight",)))
    (note,) = [note for note in notes() if "changed no weight" in note]
    places = "self/1111 seeds 0, 1, 2; self/0110 seed 0; cross/1111 seeds 0, 1, 2"
    assert note == f"the training changed no weight: {places}"
