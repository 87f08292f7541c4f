"""How precisely a study will know its contrasts, from the spread of its runs so far."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from quatrain.results import ResultStore
from quatrain.results.factorial import TERMS, term_grids
from quatrain.results.fit import Design, Fit, Variance, fit
from quatrain.results.planning import (
    expected_error,
    half_width,
    power_of_difference,
    power_of_equivalence,
)
from quatrain.study.grid import Cell, Run, Study


@dataclass(frozen=True)
class Precision:
    """The expected precision of a group; None without an estimate of the residual spread."""

    group: str
    cells: int
    seeds: int
    """The largest number of seeds of a cell."""
    sd: float | None
    """Residual standard deviation of the finished runs."""
    cell_sd: tuple[float, float] | None
    """The least and the largest standard deviation of a cell, if variances are separate."""
    df: int
    """Degrees of freedom of `sd`."""
    difference: float | None
    """Half of the width of the widest interval of a comparison, or of the first two cells."""
    main_effect: float | None
    """The same for the main effects of terms; None without a complete grid of term sets."""
    power_of_difference: float | None
    """Probability to find a true difference as large as the margin; None without a margin."""
    power_of_equivalence: float | None
    """Probability to find two equal cells equivalent within the margin."""


def expected_precision(
    study: Study, runs: Sequence[Run], store: ResultStore, spread_from: ResultStore | None = None
) -> list[Precision]:
    """The precision of each group of two or more cells after `runs`.

    Args:
        study: the study.
        runs: the runs that will have finished.
        store: the results so far.
        spread_from: another study's results, whose spread is used for groups without an own one.
    """
    other = None if spread_from is None else _of_another(spread_from, study.variance)
    seeds: dict[str, set[int]] = {}
    for run in runs:
        for label in run.labels:
            seeds.setdefault(label, set()).add(run.seed)
    groups: dict[str, list[Cell]] = {}
    for cell in study.cells:
        groups.setdefault(cell.group, []).append(cell)
    found = [
        _of_group(study, [cell for cell in cells if cell.label in seeds], seeds, store, other)
        for cells in groups.values()
        if any(cell.label in seeds for cell in cells)
    ]
    return [precision for precision in found if precision.cells > 1]


def _of_group(
    study: Study,
    cells: Sequence[Cell],
    seeds: Mapping[str, set[int]],
    store: ResultStore,
    other: Fit | None,
) -> Precision:
    metric, group = study.compared_in or study.metric, cells[0].group
    planned = {cell.name: sorted(seeds[cell.label]) for cell in cells}
    values = {
        cell.name: {
            seed: record.metrics[metric]
            for seed in planned[cell.name]
            if (record := store.record(study.identity(cell, seed))) is not None
            and metric in record.metrics
        }
        for cell in cells
    }
    own = fit(values, study.variance) if any(values.values()) else None
    fitted = own if own is not None and own.sd else other
    largest = max(map(len, planned.values()))
    unknown = Precision(group, len(cells), largest, None, None, 0, None, None, None, None)
    if fitted is None or len(cells) < 2:
        return unknown
    is_finished = own is not None and {c: [*by_seed] for c, by_seed in values.items()} == planned
    design = own.design if own is not None and is_finished else Design(planned)
    widest = _widest(fitted, design, _differences(study, group, [cell.name for cell in cells]))
    if widest is None:
        return unknown
    error, df = widest
    grids = term_grids({cell.name: cell.spec.model_dump(mode="json") for cell in cells})
    weights = [grid.effect(term) or {} for grid in grids if grid.complete for term in TERMS]
    effect = _widest(fitted, design, weights)
    margin = study.margin
    return Precision(
        group,
        len(cells),
        largest,
        fitted.sd,
        _spreads(fitted),
        fitted.df,
        half_width(error, df),
        None if effect is None else half_width(*effect),
        power_of_difference(margin, error, df) if margin else None,
        power_of_equivalence(0.0, margin, error, df) if margin else None,
    )


def _differences(study: Study, group: str, cells: Sequence[str]) -> list[dict[str, float]]:
    """The comparisons of these cells of a group; without any, the difference of the first two."""
    pairs = [
        (pair.left, pair.right)
        for pair in study.comparisons
        if pair.group == group and {pair.left, pair.right} <= {*cells}
    ]
    return [{left: 1.0, right: -1.0} for left, right in pairs or [(cells[0], cells[1])]]


def _widest(
    fitted: Fit, design: Design, contrasts: Sequence[Mapping[str, float]]
) -> tuple[float, float] | None:
    """Standard error and degrees of freedom of the contrast with the widest interval.

    None without contrasts, and if the precision of one is unknown.
    """
    found = [expected_error(fitted, weights, design) for weights in contrasts]
    known = [both for both in found if both is not None]
    return max(known, key=lambda both: half_width(*both)) if found and found == known else None


def _spreads(fitted: Fit) -> tuple[float, float] | None:
    """The least and the largest standard deviation of a cell, if variances are separate."""
    if fitted.variance == "pooled":
        return None
    own = [fitted.variance_of(cell) for cell, values in fitted.values.items() if len(values) > 1]
    roots = [variance**0.5 for variance in own if variance is not None]
    return min(roots), max(roots)


def _of_another(store: ResultStore, variance: Variance) -> Fit | None:
    """The fit with the most degrees of freedom among the groups of another study."""
    manifest = store.manifest()
    metric = manifest.compared_in or manifest.metric
    groups: dict[str, dict[str, dict[int, float]]] = {}
    for cell in manifest.cells:
        for seed, identity in cell.identities.items():
            record = store.record(identity)
            if record is not None and metric in record.metrics:
                values = groups.setdefault(cell.group, {}).setdefault(cell.name, {})
                values[seed] = record.metrics[metric]
    fits = [fitted for fitted in (fit(own, variance) for own in groups.values()) if fitted.sd]
    return max(fits, key=lambda fitted: fitted.df, default=None)
