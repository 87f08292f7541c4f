"""The order in which a runner starts its runs: as planned, or the most informative first.

The informative order follows from the records of the folder and from the runs that were started,
so that several runners on one folder each decide alike, without a state of their own.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from typing import Any, Protocol

from quatrain.results import ResultStore, RunState
from quatrain.results.factorial import TermGrid, term_grids
from quatrain.results.order import Candidate, GroupDesign, add
from quatrain.results.priorities import Judgement, PlannedGroup, designs, most_informative
from quatrain.study.finished import FinishedRuns
from quatrain.study.grid import Run, Study
from quatrain.study.manifest import runs_of_study

_SHARE = 0.05
"""Of the time, that reading records and judging contrasts may take."""


class Queue(Protocol):
    """The runs that wait for a worker."""

    def put(self, runs: Iterable[Run]) -> None:
        """Add runs."""
        ...

    def pop(self) -> Run | None:
        """Remove and return the next run; None if no run can be started now."""
        ...

    def clear(self) -> list[Run]:
        """Remove and return all runs."""
        ...


class PlannedOrder:
    """Runs in the order of the study: seed by seed."""

    def __init__(self, runs: Iterable[Run]) -> None:
        self._runs = deque(runs)

    def put(self, runs: Iterable[Run]) -> None:
        """Add runs at the end."""
        self._runs.extend(runs)

    def pop(self) -> Run | None:
        """Remove and return the first run."""
        return self._runs.popleft() if self._runs else None

    def clear(self) -> list[Run]:
        """Remove and return all runs."""
        runs = list(self._runs)
        self._runs.clear()
        return runs


class InformativeOrder:
    """The run first that narrows the inconclusive contrasts of the study most."""

    def __init__(
        self,
        study: Study,
        store: ResultStore,
        runs: Sequence[Run],
        finished: FinishedRuns,
        may_start: Callable[[Run], bool] = lambda _: True,
    ) -> None:
        """Nothing is read before the first `pop`.

        Args:
            study: the study.
            store: its results.
            runs: the runs to order.
            finished: the finished ones of `runs_of_study`.
            may_start: whether a run may be started now.
        """
        self._study, self._store = study, store
        self._finished, self._may_start = finished, may_start
        self._waiting = {run.identity: run for run in runs}
        self._all = {run.identity: run for run in runs_of_study(study, store, runs)}
        self._started: set[str] = set()
        self._judgement = Judgement(
            margin=study.margin, maximum_seeds=study.maximum_seeds, variance=study.variance
        )
        self._places = {cell.label: (cell.group, cell.name) for cell in study.cells}
        self._candidates: dict[str, Candidate] = {}
        """By run."""
        self._groups: dict[str, PlannedGroup] = {}
        self._designs: dict[str, GroupDesign] = {}
        self._next_update = 0.0

    def put(self, runs: Iterable[Run]) -> None:
        """Add runs, which are not started any more."""
        for run in runs:
            self._waiting[run.identity] = run

    def clear(self) -> list[Run]:
        """Remove and return all runs."""
        runs = list(self._waiting.values())
        self._waiting.clear()
        return runs

    def pop(self) -> Run | None:
        """Remove and return the most informative run of those that may start; None without any.

        Runs that other runners have finished in the meantime come first.
        """
        self._update()
        for identity in self._waiting:
            if identity in self._finished.by_identity:
                return self._waiting.pop(identity)
        runs = [run for run in self._waiting.values() if self._may_start(run)]
        if not runs:
            return None
        candidates = [self._candidate(run) for run in runs]
        number = most_informative(self._groups, self._designs, candidates)
        self._start(runs[number], candidates[number])
        return self._waiting.pop(runs[number].identity)

    def _start(self, run: Run, candidate: Candidate) -> None:
        if run.identity in self._started:
            return
        self._started.add(run.identity)
        add(self._designs, candidate)
        for group, cell in candidate.places:
            self._groups[group].runs.add((cell, candidate.seed))

    def _candidate(self, run: Run) -> Candidate:
        candidate = self._candidates.get(run.identity)
        if candidate is None:
            places = tuple(self._places[label] for label in run.labels)
            candidate = self._candidates[run.identity] = Candidate(run.seed, places)
        return candidate

    def _update(self) -> None:
        """Read new records and judge the contrasts again, if it is not too soon."""
        now = time.monotonic()
        if self._groups and now < self._next_update:
            return
        if self._finished.update() or not self._groups:
            self._groups = self._planned_groups()
            self._designs = designs(self._groups, self._judgement)
        after = time.monotonic()
        self._next_update = after + (after - now) / _SHARE

    def _planned_groups(self) -> dict[str, PlannedGroup]:
        seeds: dict[tuple[str, str], dict[int, str]] = {
            self._places[cell.label]: {} for cell in self._study.cells
        }
        for run in self._all.values():
            for place in self._candidate(run).places:
                seeds[place][run.seed] = run.identity
        begun = self._begun()
        return {name: self._planned_group(name, seeds, begun) for name in self._grids}

    def _planned_group(
        self, name: str, seeds: dict[tuple[str, str], dict[int, str]], begun: set[str]
    ) -> PlannedGroup:
        own = {cell: by_seed for (group, cell), by_seed in seeds.items() if group == name}
        values = {
            cell: {
                seed: value
                for seed, identity in by_seed.items()
                if identity in self._finished.by_identity
                and (value := self._finished.by_identity[identity].value) is not None
            }
            for cell, by_seed in own.items()
        }
        runs = {(c, s) for c, by_seed in own.items() for s, i in by_seed.items() if i in begun}
        possible = {
            cell
            for cell, by_seed in own.items()
            if any(i in begun or i in self._waiting for i in by_seed.values())
        }
        comparisons = [
            {pair.left: 1.0, pair.right: -1.0}
            for pair in self._study.comparisons
            if pair.group == name and {pair.left, pair.right} <= possible
        ]
        grids = [grid for grid in self._grids[name] if {*grid.cells.values()} <= possible]
        return PlannedGroup({c: tuple(s) for c, s in own.items()}, comparisons, grids, values, runs)

    def _begun(self) -> set[str]:
        """The runs that are finished, or were started and have not failed."""
        finished = self._finished.by_identity.keys()
        failed = RunState.FAILED
        running = [i for i in self._started - finished if self._store.state(i) is not failed]
        return {*finished, *running}

    @cached_property
    def _grids(self) -> dict[str, list[TermGrid]]:
        """The complete grids of term sets of each group."""
        specs: dict[str, dict[str, dict[str, Any]]] = {}
        for cell in self._study.cells:
            specs.setdefault(cell.group, {})[cell.name] = cell.spec.model_dump(mode="json")
        return {
            group: [grid for grid in term_grids(own) if grid.complete]
            for group, own in specs.items()
        }
