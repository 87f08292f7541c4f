import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.results.fit import Design
from quatrain.results.order import Candidate, GroupDesign, best_candidate, order

CELLS = ["a", "b", "c", "d"]
STAR = [{"a": 1.0, "b": -1.0}, {"a": 1.0, "c": -1.0}]
PLACES = st.tuples(st.sampled_from(CELLS), st.integers(0, 3))
VARIANCES = st.sampled_from([None, {"a": 1.0, "b": 0.2, "c": 0.5, "d": 1.0}])


def of_group(pairs):
    return [Candidate(seed, (("group", cell),)) for cell, seed in pairs]


def ordered(design, pairs):
    return [pairs[number] for number in order({"group": design}, of_group(pairs))]


def seed_by_seed(cells, seeds):
    return [(cell, seed) for seed in range(seeds) for cell in cells]


@given(st.sets(PLACES), st.sets(PLACES, min_size=1), VARIANCES)
def test_the_order_is_a_permutation(runs, candidates, variances):
    pairs = sorted(candidates - runs)
    design = GroupDesign(CELLS, range(4), STAR, sorted(runs), variances)
    assert sorted(ordered(design, pairs)) == pairs


@given(st.sets(PLACES, max_size=6), PLACES, PLACES, VARIANCES)
@settings(deadline=None)
def test_adding_a_run_gives_the_design_with_it_and_its_gain(runs, first, second, variances):
    runs = sorted(runs - {first, second})
    design = GroupDesign(CELLS, range(4), STAR, runs, variances)
    gain = design.gains([first])[0]
    design.add(*first)
    later = GroupDesign(CELLS, range(4), STAR, [*runs, first], variances)
    np.testing.assert_allclose(design.gains([second]), later.gains([second]), rtol=1e-6)
    assert gain >= -1e-9
    assert design.seeds == later.seeds


@given(st.sets(PLACES), st.randoms(use_true_random=False), VARIANCES)
def test_the_order_of_the_runs_so_far_does_not_matter(runs, random, variances):
    pairs = [(cell, seed) for cell in CELLS for seed in range(4)]
    shuffled = sorted(runs)
    random.shuffle(shuffled)
    gains = [
        GroupDesign(CELLS, range(4), STAR, own, variances).gains(pairs)
        for own in (sorted(runs), shuffled)
    ]
    np.testing.assert_allclose(*gains, rtol=1e-9, atol=1e-12)


def test_the_gain_of_a_run_is_the_decrease_of_the_logarithm_of_widths():
    """With many runs the vague priors have no influence, and the widths are those of a fit."""
    runs = [(cell, seed) for cell in CELLS for seed in range(60) if (cell, seed) != ("b", 7)]
    design = GroupDesign(CELLS, range(60), STAR, runs)
    seeds = {cell: [seed for other, seed in runs if other == cell] for cell in CELLS}
    more = {**seeds, "b": [*range(60)]}
    errors = [[Design(own).factor(weights) for weights in STAR] for own in (seeds, more)]
    expected = np.log(np.array(errors[0]) / np.array(errors[1])).sum()
    assert design.gains([("b", 7)])[0] == pytest.approx(expected, rel=0.05)


def test_cells_without_a_contrast_come_last():
    chosen = ordered(GroupDesign(CELLS, range(3), STAR), seed_by_seed(CELLS, 3))
    assert {cell for cell, _ in chosen[-3:]} == {"d"}


def test_a_cell_of_many_contrasts_has_more_seeds():
    cells = list("abcdefgh")
    star = [{"a": 1.0, cell: -1.0} for cell in cells[1:]]
    begun = [(cell, 0) for cell in cells]
    pairs = [pair for pair in seed_by_seed(cells, 6) if pair not in begun]
    first = ordered(GroupDesign(cells, range(6), star, begun), pairs)[:16]
    counts = [sum(cell == other for other, _ in first) for cell in cells]
    assert counts[0] > max(counts[1:])


def test_the_two_cells_of_a_contrast_get_the_same_seeds():
    pairs = seed_by_seed("ab", 4)
    chosen = ordered(GroupDesign(CELLS, range(4), STAR[:1]), pairs)
    for place in range(0, 8, 2):
        assert {cell for cell, _ in chosen[place : place + 2]} == {"a", "b"}
        assert len({seed for _, seed in chosen[place : place + 2]}) == 1


def test_cells_of_large_variance_have_more_seeds():
    variances = {"a": 0.01, "b": 1.0, "c": 1.0, "d": 1.0}
    begun = seed_by_seed("ab", 2)
    pairs = [(cell, seed) for cell in "ab" for seed in range(2, 8)]
    design = GroupDesign(CELLS, range(8), STAR[:1], begun, variances)
    assert [cell for cell, _ in ordered(design, pairs)[:5]].count("b") >= 4


def test_without_contrasts_the_order_stays():
    pairs = seed_by_seed(CELLS, 3)
    assert ordered(GroupDesign(CELLS, range(3), []), pairs) == pairs


def test_a_run_of_two_groups_counts_in_both():
    designs = {name: GroupDesign(["a", "b"], (0, 1), STAR[:1]) for name in ("one", "two")}
    alone = Candidate(0, (("one", "a"),))
    shared = Candidate(0, (("one", "a"), ("two", "a")))
    assert best_candidate(designs, [alone, shared]) == 1
