import pytest
from scipy import stats

from quatrain.results import ResultStore
from quatrain.study import load_study
from quatrain.study.precision import expected_precision

CELLS = "[cell('a'), cell('b', weight=2), cell('c', weight=3)]"


def precision_of(path, store, margin=None, **options):
    study = load_study(path)
    if margin is not None:
        study = study.model_copy(update={"margin": margin})
    (found,) = expected_precision(study, study.select(), store, **options)
    return found


def test_without_runs_the_precision_is_unknown(write_study, tmp_path):
    found = precision_of(write_study(CELLS, "(0, 1)"), ResultStore(tmp_path / "out"))
    assert (found.cells, found.seeds) == (3, 2)
    assert (found.sd, found.difference, found.power_of_equivalence) == (None, None, None)


def test_the_spread_so_far_tells_the_precision_of_all_seeds(write_study, finish):
    path = write_study(CELLS, "(0, 1, 2, 3)")
    store = finish(path, seeds=(0, 1))
    few = precision_of(path, store)
    assert few.df == 2
    assert few.sd > 0
    more = precision_of(write_study(CELLS, "tuple(range(10))"), store)
    assert more.sd == few.sd
    assert 0 < more.difference < few.difference
    assert more.main_effect is None


def test_a_margin_gives_the_power(write_study, finish):
    path = write_study(CELLS, "(0, 1, 2, 3)")
    store = finish(path, seeds=(0, 1))
    narrow, wide = (precision_of(path, store, margin=margin) for margin in (1.0, 50.0))
    assert narrow.power_of_equivalence < wide.power_of_equivalence
    assert wide.power_of_difference == pytest.approx(1, abs=1e-3)
    assert precision_of(path, store).power_of_equivalence is None


def test_the_spread_may_come_from_another_study(write_study, finish, tmp_path):
    path = write_study(CELLS, "(0, 1)")
    other = finish(path)
    found = precision_of(path, ResultStore(tmp_path / "empty"), spread_from=other)
    assert found.sd == precision_of(path, other).sd


def test_selected_cells_alone_count(write_study, finish):
    path = write_study(CELLS, "(0, 1)")
    store = finish(path)
    study = load_study(path)
    (found,) = expected_precision(study, study.select(["a", "b"]), store)
    assert found.cells == 2


def test_separate_variances_give_the_widest_comparison_by_welch(write_study, finish):
    pairs = "[Comparison(left=x, right='a', group='one') for x in 'bc']"
    path = write_study(CELLS, "(0, 1, 3)", pairs)
    store = finish(path)
    separate = load_study(path).model_copy(update={"variance": "separate"})
    (found,) = expected_precision(separate, separate.select(), store)
    scores = {weight: [4 * weight * (seed + 1) for seed in (0, 1, 3)] for weight in (1, 3)}
    welch = stats.ttest_ind(scores[3], scores[1], equal_var=False).confidence_interval(0.95)
    assert found.difference == pytest.approx((welch.high - welch.low) / 2)
    sds = [stats.tstd(scores[weight]) for weight in (1, 3)]
    assert found.cell_sd == pytest.approx(sds)
    assert precision_of(path, store).cell_sd is None


def test_separate_variances_of_another_study_are_used(write_study, finish, tmp_path):
    path = write_study(CELLS, "(0, 1)")
    other = finish(path)
    study = load_study(path).model_copy(update={"variance": "separate"})
    empty = ResultStore(tmp_path / "empty")
    (found,) = expected_precision(study, study.select(), empty, spread_from=other)
    assert found.cell_sd is not None
    assert found.difference > 0
