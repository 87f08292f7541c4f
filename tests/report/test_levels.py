import numpy as np
import pytest

from quatrain.report.levels import Levels, Progress, level_of
from quatrain.report.runs import load_runs
from quatrain.results.answers import LEVEL
from quatrain.results.fit import fit


@pytest.fixture
def levels(store):
    """The levels after changes of the manifest."""

    def build(**changes):
        store.write_manifest(store.manifest().model_copy(update=changes))
        return Levels(load_runs(store))

    return build


def test_added_seeds_lower_the_level(levels, store):
    assert level_of(load_runs(store)) == pytest.approx(LEVEL)
    assert levels(looks=(2,)).complete == pytest.approx(LEVEL / 2)
    assert levels(looks=(2,), maximum_seeds=4).complete == pytest.approx(LEVEL / 4)
    assert levels(looks=(2, 3), maximum_seeds=4).complete == pytest.approx(LEVEL / 4)
    assert levels(looks=(), maximum_seeds=3).complete == pytest.approx(LEVEL)


def test_unfinished_seeds_are_judged_as_if_looked_at_after_each(levels, store, make_record):
    pair = ("self", ("1111", "0110"))
    assert levels().of(*pair) == pytest.approx(LEVEL)
    (store.folder(make_record("0110", 1, 0.0).identity) / "record.json").unlink()
    assert levels().progress(*pair) == Progress(2, 3)
    assert levels().of(*pair) == pytest.approx(LEVEL / 3)
    assert levels(maximum_seeds=10).of(*pair) == pytest.approx(LEVEL / 10)
    assert levels(maximum_seeds=None, looks=(1, 2)).of(*pair) == pytest.approx(LEVEL / 4)


def test_another_comparison_of_the_study_keeps_its_level(levels, store, make_record):
    (store.folder(make_record("0110", 1, 0.0).identity) / "record.json").unlink()
    assert levels().of("cross", ("1000", "1111")) == pytest.approx(LEVEL)


def test_stopping_at_the_first_verdict_of_an_unfinished_study_is_seldom_wrong():
    """Ten planned seeds of two equal cells, looked at after each seed from the third on."""
    generator, planned, wrong, nominal = np.random.default_rng(0), 10, 0, 0
    for _ in range(400):
        values = generator.normal(size=(2, planned))
        p_values = [
            fit({"a": dict(enumerate(values[0, :n])), "b": dict(enumerate(values[1, :n]))})
            .contrast({"a": 1, "b": -1})
            .p
            for n in range(3, planned + 1)
        ]
        early = any(p <= LEVEL / planned for p in p_values[:-1])
        wrong += early or p_values[-1] <= LEVEL
        nominal += min(p_values) <= LEVEL
    assert wrong / 400 < 0.1
    assert nominal / 400 > 0.12
