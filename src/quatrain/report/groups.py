"""The fits of a study: one least-squares fit for each group of cells and each metric."""

from functools import cached_property
from typing import Any

from quatrain.report.runs import StudyRuns, metric_of
from quatrain.results.fit import Fit, fit

COSTS = ("multiply_adds", "paper_multiply_adds", "parameters")
"""The counted costs of a report: executed, by the paper's convention, and learned values."""


class Groups:
    """The fit of each group of a study, by group and metric."""

    def __init__(self, study: StudyRuns) -> None:
        """Fits are computed when they are first used."""
        self._study = study
        self._fits: dict[tuple[str, str], Fit | None] = {}
        self._costs: dict[tuple[str, str], dict[str, float]] = {}
        self._specs: dict[str, dict[str, dict[str, Any]]] = {}

    @cached_property
    def names(self) -> tuple[str, ...]:
        """The groups in the order of the study file."""
        return tuple(dict.fromkeys(cell.group for cell in self._study.manifest.cells))

    def values(self, group: str, metric: str) -> dict[str, dict[int, float]]:
        """A metric by cell and seed, for the cells that have finished runs with it.

        Raises:
            StudyError: if a record lacks the metric of the study.
        """
        manifest = self._study.manifest
        required = metric in {manifest.metric, manifest.compared_in}
        values = {
            cell.name: {
                seed: metric_of(record, metric)
                for seed, record in self._study.records(cell).items()
                if required or metric in record.metrics
            }
            for cell in manifest.cells
            if cell.group == group
        }
        return {cell: by_seed for cell, by_seed in values.items() if by_seed}

    def fit(self, group: str, metric: str) -> Fit | None:
        """The fit of a metric; None if no run of the group is finished."""
        key = group, metric
        if key not in self._fits:
            values = self.values(group, metric)
            self._fits[key] = fit(values, self._study.manifest.variance) if values else None
        return self._fits[key]

    def costs(self, group: str, name: str) -> dict[str, float]:
        """A counted cost by cell, of the first finished run that has it."""
        key = group, name
        if key not in self._costs:
            counted = {
                cell.name: [run.cost[name] for run in runs.values() if name in run.cost]
                for cell in self._study.manifest.cells
                if cell.group == group
                for runs in (self._study.runs_of(cell),)
            }
            self._costs[key] = {cell: costs[0] for cell, costs in counted.items() if costs}
        return self._costs[key]

    def specs(self, group: str) -> dict[str, dict[str, Any]]:
        """The resolved spec of each cell that has a finished run."""
        if group not in self._specs:
            records = {
                cell.name: self._study.records(cell)
                for cell in self._study.manifest.cells
                if cell.group == group
            }
            self._specs[group] = {
                cell: next(iter(by_seed.values())).spec
                for cell, by_seed in records.items()
                if by_seed
            }
        return self._specs[group]
