from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import Spec, SpecError, StudyError, identity, spec
from quatrain.study import Cell, Comparison, Expectation, Study, load_study


class Counting(Spec):
    outside_identity: ClassVar = frozenset({"report_every"})
    steps: int = 4
    report_every: int = 1

    def open(self, data, folder, seed):
        raise NotImplementedError


class Recipe(Spec):
    processes: int = 1


class Training(Counting):
    recipe: Recipe = Recipe()


class Closed(Spec):
    steps: int = 4


def cell(name="a", group="one", steps=4):
    return Cell(name=name, group=group, spec=Counting(steps=steps))


def study(**fields):
    defaults = {"cells": [cell()], "seeds": (0, 1), "comparisons": ()}
    return Study(title="t", question="q?", metric="bleu", **{**defaults, **fields})


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"cells": []}, "Study.cells"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": (0, 0)}, "seeds"),
        ({"seeds": (-1,)}, "seeds"),
        ({"cells": [cell("a"), cell("a", steps=5)]}, "cells"),
    ],
)
def test_a_grid_that_contradicts_itself_is_an_error(fields, field):
    with pytest.raises(StudyError) as error:
        study(**fields)
    assert error.value.field == field


@pytest.mark.parametrize(
    ("left", "right", "group", "nearest"),
    [
        ("1110", "1000", "self", "self/1111"),
        ("1111", "1000", "slef", "self/1111"),
    ],
)
def test_a_comparison_of_an_unknown_cell_names_the_nearest(left, right, group, nearest):
    cells = [cell("1111", "self"), cell("1000", "self", steps=5)]
    with pytest.raises(StudyError) as error:
        study(cells=cells, comparisons=[Comparison(left=left, right=right, group=group)])
    assert f"did you mean '{nearest}'" in str(error.value)


def test_a_comparison_of_a_cell_with_itself_is_an_error():
    with pytest.raises(StudyError) as error:
        study(comparisons=[Comparison(left="a", right="a", group="one")])
    assert error.value.field == "comparisons"


def test_cells_of_two_groups_may_have_the_same_name():
    assert len(study(cells=[cell("a", "one"), cell("a", "two", 5)]).select()) == 4


def test_cells_with_equal_specs_are_one_run_with_both_labels():
    runs = study(cells=[cell("x", "one"), cell("y", "two")]).select()
    assert [run.labels for run in runs] == [("one/x", "two/y")] * 2


def test_cells_that_differ_only_in_reporting_share_their_runs():
    often = Cell(name="y", group="one", spec=Counting(report_every=1))
    seldom = Cell(name="x", group="one", spec=Counting(report_every=9))
    runs = study(cells=[often, seldom]).select()
    assert [run.labels for run in runs] == [("one/y", "one/x")] * 2


def test_runs_are_selected_seed_by_seed():
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
    with pytest.raises(StudyError) as error:
        study().select(["one/b"])
    assert "did you mean 'one/a'" in str(error.value)


def test_a_run_is_found_by_its_identity_and_label():
    run = study().select()[1]
    assert study().find(run.identity, 1) == run
    assert study().find(run.identity, 1, run.label) == run


@pytest.mark.parametrize(("identity", "label"), [("0" * 64, None), (None, "one/b seed 1")])
def test_a_run_of_another_identity_or_label_is_not_found(identity, label):
    with pytest.raises(StudyError) as error:
        study().find(identity or study().select()[1].identity, 1, label)
    assert error.value.field == "cells"


@given(st.sets(st.integers(0, 99), min_size=1), st.sets(st.integers(0, 99)))
def test_the_manifest_has_every_seed_of_the_study_and_of_extra_runs_of_the_cell(seeds, further):
    grid = study(cells=[cell("a"), cell("b", steps=5)], seeds=sorted(seeds))
    manifest = grid.manifest(grid.runs((seed, grid.cells[0]) for seed in further))
    assert [dict(each.identities) for each in manifest.cells] == [
        {seed: identity(Counting(), seed) for seed in seeds | further},
        {seed: identity(Counting(steps=5), seed) for seed in seeds},
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
    ("fields", "field"),
    [
        ({"name": 0.1}, "Cell.name"),
        ({"name": "a\0"}, "Cell.name"),
        ({"group": None}, "Cell.group"),
        ({"spec": None}, "Cell.spec"),
        ({"spec": Closed()}, "Cell.spec"),
        ({"expected": 95}, "Cell.expected"),
        ({"seeds": ()}, "seeds"),
        ({"seeds": "01"}, "seeds"),
    ],
)
def test_a_cell_of_wrong_types_is_an_error(fields, field):
    with pytest.raises(StudyError) as error:
        Cell(**{"name": "a", "group": "one", "spec": Counting(), **fields})
    assert error.value.field == field


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("left", 1),
        ("right", None),
        ("group", 0),
        ("published", "1"),
        ("published", True),
        ("published", 10**400),
        ("published", float("nan")),
    ],
)
def test_a_comparison_of_wrong_types_is_an_error(field, value):
    with pytest.raises(StudyError) as error:
        Comparison(**{"left": "a", "right": "b", "group": "one", field: value})
    assert error.value.field == f"Comparison.{field}"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"title": 3}, "Study.title"),
        ({"question": None}, "Study.question"),
        ({"metric": ("bleu",)}, "Study.metric"),
        ({"compared_in": 3}, "Study.compared_in"),
        ({"cells": 3}, "Study.cells"),
        ({"cells": ["a"]}, "Study.cells.0"),
        ({"comparisons": 3}, "Study.comparisons"),
        ({"comparisons": [("a", "b")]}, "Study.comparisons.0"),
        ({"seeds": 3}, "seeds"),
        ({"lower_is_better": "m"}, "Study.lower_is_better"),
        ({"lower_is_better": ["m"]}, "Study.lower_is_better"),
        ({"lower_is_better": {"m": 1}}, "Study.lower_is_better"),
    ],
)
def test_a_study_of_wrong_types_is_an_error(fields, field):
    with pytest.raises(StudyError) as error:
        Study(**{"title": "t", "question": "q?", "metric": "m", "cells": [cell()], "seeds": (0,),
                 **fields})  # fmt: skip
    assert error.value.field == field


def test_seeds_of_numpy_give_the_same_runs():
    assert study(seeds=np.arange(2)).select() == study(seeds=(0, 1)).select()
    assert study().select(seeds=[np.int64(7)]) == study().select(seeds=[7])


def test_the_expectation_of_a_cell_is_in_the_manifest_and_not_in_the_identity():
    expected = Expectation(low=95, because="it has the term")
    grid = study(cells=[Cell(name="a", group="one", spec=Counting(), expected=expected)])
    assert grid.manifest().cells[0].expected == expected
    assert grid.select()[0].identity == study().select()[0].identity


def test_a_cell_may_have_seeds_of_its_own():
    other = Cell(name="b", group="one", spec=Counting(steps=5), seeds=range(1, 4))
    grid = study(cells=[cell("a"), other])
    assert [run.label for run in grid.select()] == [
        "one/a seed 0",
        "one/a seed 1",
        "one/b seed 1",
        "one/b seed 2",
        "one/b seed 3",
    ]
    assert [set(each.identities) for each in grid.manifest().cells] == [{0, 1}, {1, 2, 3}]
    assert {run.seed for run in grid.select(seeds=(9,))} == {9}


def test_cells_that_share_runs_keep_their_own_seeds():
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
def test_a_run_belongs_to_cells_that_plan_its_seed_or_were_selected_with_it(cells, seeds, labels):
    assert [list(run.labels) for run in shared().select(cells, seeds)] == labels


@pytest.mark.parametrize("cells", [None, ["few/*"], ["many/c"], ["few/a", "many/c"]])
@pytest.mark.parametrize("seeds", [None, [0, 1, 2, 3, 9]])
def test_a_worker_finds_each_selected_run_under_its_label(cells, seeds):
    for run in shared().select(cells, seeds):
        same = shared().find(run.identity, run.seed, run.label)
        assert (same.identity, same.label) == (run.identity, run.label)


def test_a_run_is_not_found_under_the_label_of_a_cell_of_another_spec():
    run = shared().select(["few/b"], [3])[0]
    with pytest.raises(StudyError):
        shared().find(run.identity, 3, "few/a seed 3")


@pytest.mark.parametrize(
    ("cells", "few"), [(None, {0, 1, 3}), (["few/a"], {0, 1, 3}), (["many/*"], {0, 1})]
)
def test_a_seed_extends_the_selected_cells_also_if_others_plan_its_run(cells, few):
    grid = shared()
    manifest = grid.manifest(grid.select(cells, [3]))
    seeds = {f"{each.group}/{each.name}": set(each.identities) for each in manifest.cells}
    assert (seeds["few/a"], seeds["many/a"]) == (few, {0, 1, 2, 3})


def test_the_canonical_form_of_each_cell_is_computed_once_for_all_seeds(monkeypatch):
    grid = study(cells=[cell("a"), cell("b", steps=5)], seeds=range(50))
    computed, canonical = [], spec.canonical
    monkeypatch.setattr(spec, "canonical", lambda each: computed.append(each) or canonical(each))
    runs = grid.select()
    grid.manifest(runs)
    assert all(grid.find(run.identity, run.seed, run.label) == run for run in runs)
    assert len(computed) == 2


def test_a_run_is_found_by_the_hash_of_its_code_too(write_study):
    loaded = load_study(write_study("[cell('a')]"))
    run = loaded.select()[0]
    assert loaded.find(run.identity, 0, run.label, run.spec_code) == run
    with pytest.raises(StudyError) as error:
        loaded.find(run.identity, 0, run.label, "b" * 64)
    assert error.value.field == "FakeSpec"


def test_the_processes_of_a_run_are_those_of_its_recipe():
    recipe = Recipe(processes=2)
    specs = [Counting(), Training(), Training(recipe=recipe)]
    cells = [Cell(name=str(n), group="one", spec=each) for n, each in enumerate(specs)]
    runs = study(cells=cells, seeds=(0,)).select()
    assert [run.processes for run in runs] == [1, 1, 2]


class OwnLoop:
    def fit(self, folder, *, seed, device, notify):
        raise NotImplementedError


class OwnTraining(Training):
    def open(self, *_):
        return OwnLoop()


def test_a_training_loop_of_its_own_has_one_process(tmp_path):
    specs = [OwnTraining(), OwnTraining(recipe=Recipe(processes=2))]
    cells = [Cell(name=str(n), group="one", spec=each) for n, each in enumerate(specs)]
    one, two = study(cells=cells, seeds=(0,)).select()
    assert isinstance(one.open(None, tmp_path), OwnLoop)
    with pytest.raises(SpecError) as error:
        two.open(None, tmp_path)
    assert error.value.field == "Recipe.processes"
