from quatrain.results import ResultStore
from quatrain.study import load_study
from quatrain.study.finished import FinishedRuns

CELLS = "[cell('a'), cell('b', weight=2)]"


def test_new_records_are_read_once(write_study, finish, tmp_path):
    path = write_study(CELLS, "(0, 1)")
    runs = load_study(path).select()
    finished = FinishedRuns(ResultStore(tmp_path / "out"), runs, "score")
    assert not finished.update()
    store = finish(path, seeds=(0,))
    assert finished.update()
    assert not finished.update()
    first = finished.by_identity[runs[1].identity]
    assert (first.value, first.steps, first.training_seconds) == (8.0, 4, 0.5)
    assert first.seconds == 0.5 + store.record(runs[1].identity).other_seconds
    finish(path)
    assert finished.update()
    assert len(finished.by_identity) == 4


def test_damaged_records_and_missing_metrics_are_left_out(write_study, finish):
    path = write_study(CELLS, "(0,)")
    store, runs = finish(path), load_study(path).select()
    (store.folder(runs[0].identity) / "record.json").write_text("{")
    finished = FinishedRuns(store, runs, "another metric")
    assert finished.update()
    assert finished.by_identity.keys() == {runs[1].identity}
    assert finished.by_identity[runs[1].identity].value is None
