"""How precisely a study will know its contrasts, from the spread of its runs so far."""

from collections.abc import Sequence
from dataclasses import dataclass

from quatrain.results import ResultStore
from quatrain.results.factorial import TermGrid, term_grids
from quatrain.results.fit import Design, Fit, fit
from quatrain.results.planning import half_width, power_of_difference, power_of_equivalence
from quatrain.study.grid import Run, Study


@dataclass(frozen=True)
class Precision:
    """The expected precision of a group; None without an estimate of the residual spread."""

    group: str
    cells: int
    seeds: int
    """The largest number of seeds of a cell."""
    sd: float | None
    """Residual standard deviation of the finished runs."""
    df: int
    """Degrees of freedom of `sd`."""
    difference: float | None
    """Half of the width of the interval of a difference of two cells."""
    main_effect: float | None
    """The same for the main effect of a term; None without a complete grid of term sets."""
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
    other = None if spread_from is None else _pooled(spread_from)
    groups = dict.fromkeys(cell.group for cell in study.cells)
    found = [_of_group(study, group, runs, store, other) for group in groups]
    return [precision for precision in found if precision.cells > 1]


def _of_group(
    study: Study, group: str, runs: Sequence[Run], store: ResultStore, other: Fit | None
) -> Precision:
    seeds: dict[str, set[int]] = {}
    for run in runs:
        for label in run.labels:
            seeds.setdefault(label, set()).add(run.seed)
    metric = study.compared_in or study.metric
    cells = [cell for cell in study.cells if cell.group == group and cell.label in seeds]
    design = Design({cell.name: sorted(seeds[cell.label]) for cell in cells}) if cells else None
    values = {
        cell.name: {
            seed: record.metrics[metric]
            for seed in seeds[cell.label]
            if (record := store.record(study.identity(cell, seed))) is not None
            and metric in record.metrics
        }
        for cell in cells
    }
    fitted = fit(values) if any(values.values()) else None
    if fitted is None or not fitted.sd:
        fitted = other
    largest = max((len(seeds[cell.label]) for cell in cells), default=0)
    if fitted is None or not fitted.sd or design is None or design.df < 1 or len(cells) < 2:
        return Precision(group, len(cells), largest, None, 0, None, None, None, None)
    error = fitted.sd * design.factor({cells[0].name: 1.0, cells[1].name: -1.0})
    grids = term_grids({cell.name: cell.spec.model_dump(mode="json") for cell in cells})
    effects = [_main_effect(grid, design, fitted.sd) for grid in grids if grid.complete]
    margin = study.margin
    return Precision(
        group,
        len(cells),
        largest,
        fitted.sd,
        fitted.df,
        half_width(error, design.df),
        min(effects, default=None),
        power_of_difference(margin, error, design.df) if margin else None,
        power_of_equivalence(0.0, margin, error, design.df) if margin else None,
    )


def _main_effect(grid: TermGrid, design: Design, sd: float) -> float:
    return half_width(sd * design.factor(grid.effect("E1") or {}), design.df)


def _pooled(store: ResultStore) -> Fit | None:
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
    fits = [fitted for fitted in map(fit, groups.values()) if fitted.sd]
    return max(fits, key=lambda fitted: fitted.df, default=None)
