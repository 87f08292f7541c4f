from fake.results import put_record
from quatrain.report.groups import Groups
from quatrain.report.runs import load_runs


def test_a_group_has_one_fit_for_each_metric(store):
    groups = Groups(load_runs(store))
    assert groups.names == ("self", "cross")
    assert set(groups.values("self", "bleu")) == {"1111", "0110", "0010"}
    assert groups.fit("self", "bleu") is groups.fit("self", "bleu")
    assert groups.fit("self", "chrf") is not groups.fit("self", "bleu")


def test_a_metric_may_be_missing_in_some_records(store, make_record):
    put_record(store, make_record("0110", 1, 30.0, metrics={"bleu": 30.0}))
    assert set(Groups(load_runs(store)).values("self", "chrf")["0110"]) == {0, 2}


def test_costs_are_those_of_a_finished_run(store):
    costs = Groups(load_runs(store)).costs("self", "multiply_adds")
    assert costs == {"1111": 8e8, "0110": 6e8, "0010": 5e8}


def test_costs_may_be_counted_after_a_run(store, make_record):
    record = make_record("1111", 0, 31.0)
    measured = store.measurement(record.identity)
    cost = {"paper_multiply_adds": 9e8, "multiply_adds": 1.0}
    store.write_measurement(record.identity, measured.model_copy(update={"cost": cost}))
    groups = Groups(load_runs(store))
    assert groups.costs("self", "paper_multiply_adds") == {"1111": 9e8}
    assert groups.costs("self", "multiply_adds")["1111"] == 8e8


def test_a_group_without_runs_has_no_fit(store):
    for record in store.all_records():
        (store.folder(record.identity) / "record.json").unlink()
    groups = Groups(load_runs(store))
    assert groups.fit("self", "bleu") is None
    assert groups.specs("self") == {}
