from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from quatrain.results import ResultStore
from quatrain.specs import Spec
from quatrain.study import Cell, Comparison, Study, load_study
from quatrain.study.finished import FinishedRuns
from quatrain.study.manifest import runs_of_study
from quatrain.study.order import InformativeOrder, PlannedOrder

CELLS = "[cell('a'), cell('b', weight=2), cell('c', weight=3)]"
PAIR = "[Comparison(left='c', right='b', group='one')]"


class NumberSpec(Spec):
    number: int

    def open(self, data, folder, seed):
        raise NotImplementedError


def order_of(study, store, runs=None, **options):
    runs = study.select() if runs is None else runs
    finished = FinishedRuns(store, runs_of_study(study, store, runs), study.metric)
    return InformativeOrder(study, store, runs, finished, **options)


def labels(order):
    chosen = []
    while (run := order.pop()) is not None:
        chosen.append(run.label.removeprefix("one/").replace(" seed ", ""))
    return chosen


def test_the_planned_order_is_that_of_the_study(write_study):
    runs = load_study(write_study(CELLS)).select()
    order = PlannedOrder(runs)
    assert order.pop() == runs[0]
    order.put(runs[:1])
    assert order.clear() == [*runs[1:], runs[0]]
    assert order.pop() is None


def test_compared_cells_come_first(write_study, tmp_path):
    study = load_study(write_study(CELLS, "(0, 1)", PAIR))
    chosen = labels(order_of(study, ResultStore(tmp_path)))
    assert chosen[:2] == ["c0", "b0"]
    assert {*chosen[2:4]} == {"c1", "b1"}
    assert {*chosen[4:]} == {"a0", "a1"}


def test_without_comparisons_the_order_is_the_planned_one(write_study, tmp_path):
    study = load_study(write_study(CELLS))
    assert labels(order_of(study, ResultStore(tmp_path))) == ["a0", "b0", "c0", "a1", "b1", "c1"]


def test_runs_of_other_runners_are_returned_first_and_change_the_order(write_study, finish):
    path = write_study(CELLS, "(0, 1, 2)", PAIR)
    store = finish(path, ["b", "c"], seeds=(0, 1))
    study = load_study(path)
    order = order_of(study, store)
    assert {order.pop().label for _ in range(4)} == {
        f"one/{c} seed {s}" for c in "bc" for s in "01"
    }
    assert labels(order)[0] in {"b2", "c2"}


def test_runs_that_may_not_start_stay(write_study, tmp_path):
    study = load_study(write_study(CELLS, "(0, 1)", PAIR))
    order = order_of(study, ResultStore(tmp_path), may_start=lambda run: run.seed == 1)
    assert {*labels(order)} == {"a1", "b1", "c1"}
    assert {run.seed for run in order.clear()} == {0}
    assert order.pop() is None


def test_a_run_that_comes_back_is_counted_once(write_study, tmp_path):
    study = load_study(write_study(CELLS, "(0,)", PAIR))
    order = order_of(study, ResultStore(tmp_path))
    first = order.pop()
    order.put([first])
    assert sorted(labels(order)) == ["a0", "b0", "c0"]


def test_selected_cells_without_their_partner_have_no_contrast(write_study, tmp_path):
    study = load_study(write_study(CELLS, "(0, 1)", PAIR))
    order = order_of(study, ResultStore(tmp_path), study.select(["a", "b"]))
    assert labels(order) == ["a0", "b0", "a1", "b1"]


@given(st.data())
def test_each_run_is_started_once(data):
    names = data.draw(st.lists(st.sampled_from("abcde"), unique=True, min_size=2))
    groups = data.draw(st.lists(st.sampled_from(["one", "two"]), unique=True, min_size=1))
    pair = st.tuples(st.sampled_from(names), st.sampled_from(names), st.sampled_from(groups))
    pairs = data.draw(st.sets(pair.filter(lambda pair: pair[0] != pair[1]), max_size=3))
    study = Study(
        title="t",
        question="q",
        cells=[
            Cell(name=name, group=group, spec=NumberSpec(number=ord(name)))
            for group in groups
            for name in names
        ],
        seeds=range(data.draw(st.integers(1, 3))),
        metric="score",
        comparisons=[
            Comparison(left=left, right=right, group=group) for left, right, group in pairs
        ],
    )
    order = order_of(study, ResultStore(Path("no folder")))
    chosen = []
    while (run := order.pop()) is not None:
        chosen.append(run)
    assert sorted(run.identity for run in chosen) == sorted(run.identity for run in study.select())
