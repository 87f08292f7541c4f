from dataclasses import replace

import pytest

from quatrain.results.factorial import HALF_FRACTION, TermGrid
from quatrain.results.order import Candidate
from quatrain.results.priorities import (
    Judgement,
    PlannedGroup,
    designs,
    judge,
    most_informative,
)

SETS = [format(n, "04b") for n in range(16)]
PAIRS = [{"a": 1.0, "b": -1.0}, {"a": 1.0, "c": -1.0}]


def group(values=None, seeds=3, comparisons=PAIRS, cells="abc", grids=()):
    values = values or {}
    runs = {(cell, seed) for cell, own in values.items() for seed in own}
    return PlannedGroup(
        {cell: tuple(range(seeds)) for cell in cells}, comparisons, grids, values, runs
    )


def verdicts(plan, **judgement):
    return [found.verdict for found in judge({"one": plan}, Judgement(**judgement))]


def test_the_first_runs_are_half_a_grid_then_the_cells_of_comparisons():
    grid = TermGrid({digits: digits for digits in SETS})
    plan = group(
        seeds=2, comparisons=[{"1111": 1.0, "w/o": -1.0}], cells=[*SETS, "w/o"], grids=[grid]
    )
    waiting = [Candidate(seed, (("one", cell),)) for seed in range(2) for cell in plan.seeds]
    started = []
    for _ in range(9):
        groups = {"one": replace(plan, runs=set(started))}
        run = waiting.pop(most_informative(groups, designs(groups, Judgement()), waiting))
        started.append((run.places[0][1], run.seed))
    assert started == [(cell, 0) for cell in (*HALF_FRACTION, "w/o")]


def test_contrasts_without_runs_are_inconclusive():
    assert verdicts(group()) == ["inconclusive", "inconclusive"]
    grid = TermGrid({digits: digits for digits in SETS})
    assert verdicts(group(comparisons=[], cells=SETS, grids=[grid])) == ["inconclusive"] * 4


def test_contrasts_with_a_verdict_are_not_narrowed_further():
    values = {
        "a": {0: 10.0, 1: 10.1, 2: 10.3, 3: 9.9},
        "b": {0: 1.0, 1: 1.2, 2: 1.1, 3: 0.9},
        "c": {0: 10.1, 1: 9.9, 2: 10.2, 3: 10.1},
    }
    plan = group(values, seeds=8)
    assert verdicts(plan) == ["higher", "inconclusive"]
    found = designs({"one": plan}, Judgement())["one"]
    gains = found.gains([("a", 4), ("b", 4), ("c", 4)])
    assert gains[1] == pytest.approx(0, abs=1e-2)
    assert min(gains[0], gains[2]) > 10 * gains[1]


@pytest.mark.parametrize(("seeds", "verdict"), [(3, "higher"), (30, "inconclusive")])
def test_contrasts_that_lack_planned_runs_are_judged_at_a_lower_level(seeds, verdict):
    values = {
        "a": {0: 4.2, 1: 3.4, 2: 3.9},
        "b": {0: 1.0, 1: 1.2, 2: 2.1},
        "c": {0: 4.0, 1: 3.0, 2: 5.0},
    }
    assert verdicts(group(values, seeds))[0] == verdict
    assert verdicts(group(values, seeds), maximum_seeds=seeds)[0] == verdict


def test_main_effects_are_judged_on_the_half_fraction():
    grid = TermGrid({digits: digits for digits in SETS})
    noise = [0.01, -0.02, 0.03, -0.01, 0.02, 0.0, -0.03, 0.015]
    values = {
        cell: {0: 5.0 * int(cell[0]), 1: 5.0 * int(cell[0]) + noise[n]}
        for n, cell in enumerate(HALF_FRACTION)
    }
    plan = group(values, seeds=2, comparisons=[], cells=SETS, grids=[grid])
    assert verdicts(plan)[0] == "higher"
    assert verdicts(plan, margin=1.0) == ["higher", *["equivalent"] * 3]


def test_separate_variances_are_relative_to_the_largest():
    values = {"a": {0: 1.0, 1: 1.0}, "b": {0: 1.0, 1: 9.0}, "c": {0: 2.0}}
    plan = group(values, comparisons=PAIRS[:1])
    found = designs({"one": plan}, Judgement(variance="separate"))["one"]
    gains = found.gains([("a", 2), ("b", 2)])
    assert gains[1] > gains[0] >= 0
