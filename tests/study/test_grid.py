from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import Spec, StudyError, identity
from quatrain.study import Cell, Comparison, Expectation, Study


class Counting(Spec):
    outside_identity: ClassVar = frozenset({"report_every"})
    steps: int = 4
    report_every: int = 1

    def open(self, data, folder, seed):
        raise NotImplementedError


class Closed(Spec):
    steps: int = 4


def cell(name="a", group="one", steps=4):
    return Cell(name=name, group=group, spec=Counting(steps=steps))


def study(**fields):
    defaults = {"cells": [cell()], "seeds": (0, 1), "comparisons": ()}
    return Study(title="t", question="q?", metric="bleu", **{**defaults, **fields})


def test_a_cell_needs_a_spec_that_opens_a_task():
    with pytest.raises(StudyError, match=r"Closed.*expected a task spec"):
        Cell(name="a", group="one", spec=Closed())


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"cells": []}, "at least one cell"),
        ({"seeds": ()}, "at least one seed"),
        ({"seeds": (0, 0)}, "each seed once"),
        ({"seeds": (-1,)}, "a whole number from 0 up"),
        ({"seeds": (True,)}, "a whole number from 0 up"),
        ({"cells": [cell("a"), cell("a", steps=5)]}, "unique in their group"),
    ],
)
def test_a_grid_that_contradicts_itself_is_one_sentence(fields, sentence):
    with pytest.raises(StudyError, match=sentence):
        study(**fields)


@pytest.mark.parametrize(
    ("left", "right", "group", "sentence"),
    [
        ("1110", "1000", "self", "did you mean 1111"),
        ("1111", "1000", "slef", "did you mean self"),
        ("1111", "1111", "self", "two different cells"),
    ],
)
def test_a_comparison_of_what_is_not_there_names_the_nearest(left, right, group, sentence):
    cells = [cell("1111", "self"), cell("1000", "self", steps=5)]
    with pytest.raises(StudyError, match=sentence):
        study(cells=cells, comparisons=[Comparison(left=left, right=right, group=group)])


def test_one_name_may_stand_in_two_groups():
    assert len(study(cells=[cell("a", "one"), cell("a", "two", 5)]).select()) == 4


def test_cells_with_equal_specs_are_one_run_with_both_labels():
    runs = study(cells=[cell("x", "one"), cell("y", "two")]).select()
    assert [run.labels for run in runs] == [("one/x", "two/y")] * 2


def test_cells_that_differ_only_in_what_is_seen_of_a_run_share_it():
    often = Cell(name="y", group="one", spec=Counting(report_every=1))
    seldom = Cell(name="x", group="one", spec=Counting(report_every=9))
    runs = study(cells=[often, seldom]).select()
    assert [run.labels for run in runs] == [("one/y", "one/x")] * 2


def test_the_selection_goes_seed_by_seed_so_that_cells_stay_comparable_when_stopped():
    runs = study(cells=[cell("a"), cell("b", steps=5)]).select()
    assert [run.label for run in runs] == [
        "one/a seed 0", "one/b seed 0", "one/a seed 1", "one/b seed 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("globs", "labels"),
    [
        (["w*"], ["self/w/o"]),
        (["self/*"], ["self/w/o", "self/01"]),
        (["01", "cross/01"], ["self/01", "cross/01"]),
        (None, ["self/w/o", "self/01", "cross/01"]),
    ],
)
def test_globs_match_names_and_labels(globs, labels):
    cells = [cell("w/o", "self", 1), cell("01", "self", 2), cell("01", "cross", 3)]
    chosen = study(cells=cells).select(globs, [3])
    assert [run.labels[0] for run in chosen] == labels
    assert {run.seed for run in chosen} == {3}


def test_a_glob_that_matches_nothing_names_the_nearest():
    with pytest.raises(StudyError, match="did you mean one/a"):
        study().select(["one/b"])


def test_a_run_is_found_by_its_identity_and_an_unknown_one_is_an_error():
    wanted = study().select()[1]
    assert study().find(wanted.identity, 1) == wanted
    with pytest.raises(StudyError, match="start the study again"):
        study().find("0" * 64, 1)


@given(st.sets(st.integers(0, 99), min_size=1), st.sets(st.integers(0, 99)))
def test_the_manifest_has_every_seed_of_the_study_and_of_the_command_line(own, further):
    manifest = study(seeds=sorted(own)).manifest(further)
    assert manifest.cells[0].identities == {
        seed: identity(Counting(), seed) for seed in own | further
    }


def test_what_is_expected_of_a_cell_goes_into_the_manifest_and_changes_no_run():
    expected = Expectation(low=95, because="it has the term")
    judged = Cell(name="a", group="one", spec=Counting(), expected=expected)
    wanting = study(cells=[judged])
    assert wanting.manifest().cells[0].expected == expected
    assert wanting.select()[0].identity == study().select()[0].identity
