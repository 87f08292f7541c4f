"""The benchmark of the order of runs, and its table in the documentation."""

from pathlib import Path

from benchmarks.order import (
    PUBLISHED,
    false_rows,
    published,
    replay_rows,
    settled,
    simulated_rows,
    term_grid,
)

PAGE = (Path(__file__).parents[2] / "docs" / "statistics.md").read_text()


def test_the_replayed_table_is_in_the_documentation():
    assert [row for row in replay_rows() if row not in PAGE] == []
    assert all(f"| {name} |" in PAGE for name in PUBLISHED)


def test_both_orders_end_with_the_same_verdicts():
    for name in ("numerals_terms", "own_network"):
        plain, best = (published(name).verdicts(informative=chosen) for chosen in (False, True))
        assert plain[-1] == best[-1]
        assert len(plain) == len(best) == len(published(name).candidates)


def test_few_comparisons_are_settled_by_few_runs():
    """The probes compare few of their cells."""
    plain, best = (settled(published("probes").verdicts(informative=x)) for x in (False, True))
    assert plain[-1] == best[-1] == best[len(best) // 4]
    assert plain[len(plain) // 2] == 0


def test_simulated_studies_have_a_row_each():
    assert len(simulated_rows(1, seeds=2)) == len(PUBLISHED)
    assert len(false_rows(1, seeds=[2])) == 2
    assert len(term_grid().groups["all self"].seeds) == 17
