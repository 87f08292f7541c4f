"""The meaning of intervals, levels and verdicts of a table of differences, as text below it."""

from quatrain.report.differences import DifferenceTable
from quatrain.results.resampling import RESAMPLES


def verdict_legend(table: DifferenceTable) -> str:
    """The meaning of intervals, p-values and verdicts in the table."""
    margin = (
        f" Equivalent: two one-sided tests place the difference within {table.margin:g}."
        if table.margin
        else " The study declares no margin within which a difference would be equivalent."
    )
    model = (
        "Least squares of cells and seeds for each group, with one residual variance"
        if table.variance == "pooled"
        else "Each cell has a variance of its own (Welch)"
    )
    levels = interim_levels(table)
    interim = (
        f", or of {levels} while planned seeds have not finished, as results may be looked at "
        "after each of them"
        if levels
        else ""
    )
    return (
        f"{model}; 95 % intervals of Student's t cover the variation between seeds, not the choice "
        f"of test examples. Verdicts are at the level of {100 * table.level:.2g} %{interim}. p is "
        "adjusted for all differences of the table (Shaffer); intervals are not adjusted."
        f"{margin} Further seeds: for 80 % power if the estimate is the true difference."
        f"{_test_noise_legend(table)}"
    )


def _test_noise_legend(table: DifferenceTable) -> str:
    """The meaning of the second interval; nothing if there is none."""
    if not table.has_test_noise:
        return ""
    return (
        f" Over test {table.examples}: 95 % percentile interval of the difference for the trained "
        f"seeds, by a paired bootstrap of {RESAMPLES:,} resamples of the test {table.examples} "
        f"(Koehn 2004); it covers the choice of test {table.examples}, not the variation between "
        "seeds."
    )


def interim_levels(table: DifferenceTable) -> str:
    """The levels of comparisons whose planned seeds have not finished: '1.7 %', or nothing."""
    levels = {row.level for row in table.rows if row.answer and not row.progress.is_complete}
    return " or ".join(f"{100 * level:.2g} %" for level in sorted(levels))
