from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import Spec, StudyError, identity, spec
from quatrain.study import Cell, Comparison, Expectation, Study, load_study


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
        ({"seeds": (-1,)}, "a whole number from 0 to 18446744073709551615"),
        ({"seeds": (True,)}, "a whole number from 0 to 18446744073709551615"),
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
    with pytest.raises(StudyError, match=r"different at each reading.* a fixed seed"):
        study().find("0" * 64, 1)


def test_a_run_that_has_changed_its_name_is_not_found():
    wanted = study().select()[1]
    assert study().find(wanted.identity, 1, wanted.label) == wanted
    with pytest.raises(StudyError, match="different at each reading"):
        study().find(wanted.identity, 1, "one/b seed 1")


@given(st.sets(st.integers(0, 99), min_size=1), st.sets(st.integers(0, 99)))
def test_the_manifest_has_every_seed_of_the_study_and_of_further_runs_of_the_cell(own, further):
    grid = study(cells=[cell("a"), cell("b", steps=5)], seeds=sorted(own))
    manifest = grid.manifest(grid.run(grid.cells[0], seed) for seed in further)
    assert [dict(each.identities) for each in manifest.cells] == [
        {seed: identity(Counting(), seed) for seed in own | further},
        {seed: identity(Counting(steps=5), seed) for seed in own},
    ]


def test_cells_that_share_a_run_share_its_further_seed():
    grid = study(cells=[cell("x", "one"), cell("y", "two")])
    manifest = grid.manifest(grid.select(seeds=(9,)))
    assert [9 in each.identities for each in manifest.cells] == [True, True]


@pytest.mark.parametrize(
    ("glob", "labels"),
    [
        ("bias[0.1]", ["one/bias[0.1]"]),
        ("one/bias[0.1]", ["one/bias[0.1]"]),
        ("*", ["one/*"]),
        ("bias?", ["one/bias0"]),
        ("bias*", ["one/bias[0.1]", "one/bias0"]),
    ],
)
def test_a_cell_is_selected_by_its_own_name_before_any_glob(glob, labels):
    grid = study(cells=[cell("bias[0.1]"), cell("bias0", steps=5), cell("*", steps=6)], seeds=(0,))
    assert [run.labels[0] for run in grid.select([glob])] == labels


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"name": 0.1}, r"name of a cell is 0\.1, expected a text"),
        ({"name": ""}, "not empty"),
        ({"name": "a\0"}, "can be shown"),
        ({"group": None}, "group of cell a is None"),
        ({"group": "a\nb"}, "can be shown"),
        ({"spec": None}, "a task spec"),
        ({"expected": 95}, r"expected of cell one/a is 95.*write Expectation\(low"),
    ],
)
def test_a_cell_of_wrong_types_is_refused_where_it_is_made(fields, sentence):
    with pytest.raises(StudyError, match=sentence):
        Cell(**{"name": "a", "group": "one", "spec": Counting(), **fields})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"left": 1}, "left of a comparison is 1"),
        ({"right": None}, "right of a comparison is None"),
        ({"group": "a\tb"}, "can be shown"),
        ({"published": "1"}, "a finite number"),
        ({"published": float("nan")}, "a finite number"),
    ],
)
def test_a_comparison_of_wrong_types_is_refused_where_it_is_made(fields, sentence):
    with pytest.raises(StudyError, match=sentence):
        Comparison(**{"left": "a", "right": "b", "group": "one", **fields})


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"title": 3}, "title is 3, expected a text"),
        ({"title": "a\x1b"}, "can be shown"),
        ({"question": None}, "question is None"),
        ({"metric": ("bleu",)}, "metric is .*expected a text"),
        ({"metric": "b\0"}, "can be shown"),
        ({"compared_in": 3}, "compared_in is 3"),
        ({"cells": cell()}, r"cells is .*expected a list of Cells: write cells=\[\.\.\.\]"),
        ({"cells": None}, "a list of Cells"),
        ({"cells": ["a"]}, r"one of cells is \"a\", expected a Cell: write Cell\(\.\.\.\)"),
        ({"comparisons": 3}, "a list of Comparisons"),
        ({"comparisons": [("a", "b")]}, "expected a Comparison"),
        ({"seeds": 3}, "a list of whole numbers"),
        ({"seeds": (2**64,)}, "a whole number from 0 to 18446744073709551615"),
    ],
)
def test_a_study_of_wrong_types_is_one_sentence(fields, sentence):
    with pytest.raises(StudyError, match=sentence):
        Study(**{"title": "t", "question": "q?", "metric": "m", "cells": [cell()], "seeds": (0,),
                 **fields})  # fmt: skip


def test_seeds_of_numpy_name_the_same_runs():
    assert study(seeds=np.arange(2)).select() == study(seeds=(0, 1)).select()
    assert study().select(seeds=[np.int64(7)]) == study().select(seeds=[7])


def test_what_is_expected_of_a_cell_goes_into_the_manifest_and_changes_no_run():
    expected = Expectation(low=95, because="it has the term")
    judged = Cell(name="a", group="one", spec=Counting(), expected=expected)
    wanting = study(cells=[judged])
    assert wanting.manifest().cells[0].expected == expected
    assert wanting.select()[0].identity == study().select()[0].identity


def test_a_cell_with_seeds_of_its_own_has_those_and_the_others_the_study_s():
    own = Cell(name="b", group="one", spec=Counting(steps=5), seeds=range(1, 4))
    grid = study(cells=[cell("a"), own])
    assert [run.label for run in grid.select()] == [
        "one/a seed 0",
        "one/a seed 1",
        "one/b seed 1",
        "one/b seed 2",
        "one/b seed 3",
    ]
    assert [set(each.identities) for each in grid.manifest().cells] == [{0, 1}, {1, 2, 3}]
    assert {run.seed for run in grid.select(seeds=(9,))} == {9}


def test_a_cell_shows_its_own_seeds_of_a_run_that_it_shares_and_further_ones():
    """Seeds that are planned for one of two cells of a run are not further seeds of the other."""
    few, many = cell("a", "few"), Cell(name="a", group="many", spec=Counting(), seeds=range(4))
    grid = study(cells=[few, many])
    assert len(grid.select()) == 4
    seeds = [set(each.identities) for each in grid.manifest(grid.select()).cells]
    assert seeds == [{0, 1}, {0, 1, 2, 3}]
    seeds = [set(each.identities) for each in grid.manifest(grid.select(seeds=(9,))).cells]
    assert seeds == [{0, 1, 9}, {0, 1, 2, 3, 9}]


def shared():
    """Two groups that share a run of other seeds each, the larger one first and last."""
    many = [Cell(name=name, group="many", spec=Counting(), seeds=(0, 1, 2, 3)) for name in "ac"]
    return study(cells=[many[0], cell("a", "few"), cell("b", "few", steps=5), many[1]])


@pytest.mark.parametrize(
    ("cells", "seeds", "labels"),
    [
        (["few/a"], None, [["many/a", "few/a", "many/c"]] * 2),
        (["few/a"], [3], [["many/a", "few/a", "many/c"]]),
        (["few/a"], [9], [["few/a"]]),
        (["few/a", "many/c"], [9], [["few/a", "many/c"]]),
        (["many/*"], [1, 2], [["many/a", "few/a", "many/c"], ["many/a", "many/c"]]),
        (["few/b"], [3], [["few/b"]]),
    ],
)
def test_a_run_is_of_the_cells_that_plan_its_seed_or_were_selected_with_it(cells, seeds, labels):
    assert [list(run.labels) for run in shared().select(cells, seeds)] == labels


@pytest.mark.parametrize("cells", [None, ["few/*"], ["many/c"], ["few/a", "many/c"]])
@pytest.mark.parametrize("seeds", [None, [0, 1, 2, 3, 9]])
def test_a_worker_finds_each_selected_run_under_its_label(cells, seeds):
    for run in shared().select(cells, seeds):
        found = shared().find(run.identity, run.seed, run.label)
        assert (found.identity, found.label) == (run.identity, run.label)


def test_a_run_is_not_found_under_the_name_of_a_cell_of_another_spec():
    run = shared().select(["few/b"], [3])[0]
    with pytest.raises(StudyError, match="different at each reading"):
        shared().find(run.identity, 3, "few/a seed 3")


@pytest.mark.parametrize(
    ("cells", "few"), [(None, {0, 1, 3}), (["few/a"], {0, 1, 3}), (["many/*"], {0, 1})]
)
def test_a_seed_extends_the_selected_cells_though_others_plan_its_run(cells, few):
    grid = shared()
    manifest = grid.manifest(grid.select(cells, [3]))
    seeds = {f"{each.group}/{each.name}": set(each.identities) for each in manifest.cells}
    assert (seeds["few/a"], seeds["many/a"]) == (few, {0, 1, 2, 3})


def test_the_canonical_form_of_each_cell_is_computed_once_whatever_the_number_of_seeds(
    monkeypatch,
):
    grid = study(cells=[cell("a"), cell("b", steps=5)], seeds=range(50))
    computed, canonical = [], spec.canonical
    monkeypatch.setattr(spec, "canonical", lambda each: computed.append(each) or canonical(each))
    runs = grid.select()
    grid.manifest(runs)
    assert all(grid.find(run.identity, run.seed, run.label) == run for run in runs)
    assert len(computed) == 2


@pytest.mark.parametrize("seeds", [(), (0, 0), (-1,), "01", 3])
def test_seeds_of_a_cell_are_checked_where_it_is_made(seeds):
    with pytest.raises(StudyError):
        Cell(name="a", group="one", spec=Counting(), seeds=seeds)


def test_a_run_is_found_by_the_hash_of_its_code_too(write_study):
    loaded = load_study(write_study("[cell('a')]"))
    wanted = loaded.select()[0]
    assert loaded.find(wanted.identity, 0, wanted.label, wanted.spec_code) == wanted
    with pytest.raises(StudyError, match=r"FakeSpec is .changed since the command was given"):
        loaded.find(wanted.identity, 0, wanted.label, "b" * 64)
