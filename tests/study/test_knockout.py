import math

import pytest

from fake.probes import finish, probe
from quatrain.specs import InputError
from quatrain.study.knockout import differs_in_terms_only, knockout_run
from quatrain.study.reopen import reopen

CELLS = {
    ("terms", "1111"): probe("1111"),
    ("terms", "0110"): probe("0110"),
    ("terms", "w/o"): probe("w/o"),
    ("terms", "0110@3"): probe("0110@3"),
    ("terms", "longer 0010"): probe("0010", steps=5),
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A function from the name of a cell to the folder of its first run."""
    store, study = finish(tmp_path_factory.mktemp("runs") / "out", CELLS, seeds=(0, 1))
    folders = {run.labels[0]: store.folder(run.identity) for run in study.select(seeds=[0])}
    return lambda name: folders[f"terms/{name}"]


def test_a_run_is_evaluated_with_terms_off_and_next_to_retrained_cells(runs):
    with reopen(runs("1111")) as run:
        result = knockout_run(run)
        records = [each for each in run.store.all_records() if each.cell == "terms/0110"]
    assert (result.cell, result.seed, result.metric) == ("terms/1111", 0, "accuracy")
    everywhere = {str(each.terms): each.metrics for each in result.results if each.at is None}
    assert len(everywhere) == 16
    assert everywhere["1111"]["accuracy"] == pytest.approx(result.recorded)
    assert {each.at for each in result.results} == {None, "network.mixer"}
    (cell,) = result.retrained
    assert (cell.cell, cell.seeds) == ("terms/0110", 2)
    assert {str(terms) for terms in cell.terms.values()} == {"0110"}
    assert cell.knocked_out == everywhere["0110"]["accuracy"]
    assert cell.retrained == pytest.approx(
        math.fsum(record.metrics["accuracy"] for record in records) / 2
    )
    assert result.shares["network.mixer"].queries > 0


def test_cells_that_differ_elsewhere_or_have_more_terms_are_not_compared(runs):
    with reopen(runs("0110")) as run:
        assert knockout_run(run).retrained == []


def test_a_run_without_attention_is_refused(runs):
    with reopen(runs("w/o")) as run, pytest.raises(InputError, match="contains no"):
        knockout_run(run)


@pytest.mark.parametrize(
    ("other", "alike"),
    [
        ({"a": 1, "b": [{"terms": "1111"}]}, True),
        ({"a": 1, "b": [{"terms": "0000"}]}, True),
        ({"a": 2, "b": [{"terms": "0000"}]}, False),
        ({"a": 1, "b": [{"terms": "sampled"}]}, False),
        ({"a": 1, "b": [{"terms": "1111", "heads": 2}]}, False),
        ({"a": 1, "b": []}, False),
    ],
)
def test_specs_are_alike_if_only_terms_differ(other, alike):
    assert differs_in_terms_only({"a": 1, "b": [{"terms": "1111"}]}, other) is alike
