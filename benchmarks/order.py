"""Contrasts settled by each run of a study: the most informative run first, or seed by seed.

    python -m benchmarks.order
    python -m benchmarks.order --studies 20

Three tables. In the first the finished runs of the published studies are replayed in both orders.
In the second the studies are simulated with more seeds: the cell means and the residual standard
deviation are those of the records, the noise is normal, and each seed has an effect of 0.7 standard
deviations. In the third no cell differs from another, so that each verdict "higher" or "lower" is
false. A contrast (a comparison, or the main effect of a term in a complete grid) counts as settled
if its verdict is the one after all runs.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from quatrain.results import Manifest, Record, ResultStore
from quatrain.results.answers import Verdict
from quatrain.results.factorial import term_grids
from quatrain.results.fit import fit
from quatrain.results.order import Candidate
from quatrain.results.priorities import (
    Judgement,
    PlannedGroup,
    Values,
    designs,
    judge,
    most_informative,
)
from quatrain.study import load_study

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "docs" / "results"
PUBLISHED = ("multi30k_terms", "numerals_terms", "camvid_segmentation", "own_network", "probes")
SEED_EFFECT = 0.7
"""The standard deviation of effects of seeds, in residual standard deviations."""

Choose = Callable[[Mapping[str, PlannedGroup], Sequence[Candidate]], int]


@dataclass(frozen=True)
class Replay:
    """The runs of a study with their values, which an order reveals one by one."""

    groups: Mapping[str, PlannedGroup]
    """Before any run."""
    values: Mapping[str, Values]
    candidates: Sequence[Candidate]
    judgement: Judgement

    def verdicts(self, *, informative: bool) -> list[list[Verdict]]:
        """The verdicts on all contrasts after each run."""
        groups, waiting = dict(self.groups), list(self.candidates)
        after: list[list[Verdict]] = []
        while waiting:
            number = self._most_informative(groups, waiting) if informative else 0
            run = waiting.pop(number)
            for name, cell in run.places:
                groups[name] = self._with_run(groups[name], name, cell, run.seed)
            after.append([found.verdict for found in judge(groups, self.judgement)])
        return after

    def _most_informative(
        self, groups: Mapping[str, PlannedGroup], waiting: Sequence[Candidate]
    ) -> int:
        return most_informative(groups, designs(groups, self.judgement), waiting)

    def _with_run(self, group: PlannedGroup, name: str, cell: str, seed: int) -> PlannedGroup:
        own = {**group.values.get(cell, {}), seed: self.values[name][cell][seed]}
        values = {**group.values, cell: own}
        return replace(group, values=values, runs={*group.runs, (cell, seed)})


def replay(manifest: Manifest, records: Mapping[str, Record]) -> Replay:
    """The finished runs of a study."""
    metric = manifest.compared_in or manifest.metric
    values: dict[str, dict[str, dict[int, float]]] = {}
    specs: dict[str, dict[str, Mapping[str, object]]] = {}
    places: dict[str, tuple[int, list[tuple[str, str]]]] = {}
    for cell in manifest.cells:
        for seed, identity in sorted(cell.identities.items()):
            if identity in records:
                record = records[identity]
                own = values.setdefault(cell.group, {}).setdefault(cell.name, {})
                own[seed] = record.metrics[metric]
                specs.setdefault(cell.group, {})[cell.name] = record.spec
                places.setdefault(identity, (seed, []))[1].append((cell.group, cell.name))
    groups = {
        name: PlannedGroup(
            seeds={cell: tuple(by_seed) for cell, by_seed in own.items()},
            comparisons=[
                {pair.left: 1.0, pair.right: -1.0}
                for pair in manifest.comparisons
                if pair.group == name and {pair.left, pair.right} <= own.keys()
            ],
            grids=[grid for grid in term_grids(specs[name]) if grid.complete],
            values={},
            runs=set(),
        )
        for name, own in values.items()
    }
    candidates = [Candidate(seed, tuple(of_run)) for seed, of_run in places.values()]
    judgement = Judgement(
        margin=manifest.margin, maximum_seeds=manifest.maximum_seeds, variance=manifest.variance
    )
    return Replay(groups, values, sorted(candidates, key=lambda run: run.seed), judgement)


def published(name: str) -> Replay:
    """The records of a published study."""
    store = ResultStore(RESULTS / name)
    records = {record.identity: record for record in store.all_records()}
    return replay(store.manifest(), records)


def term_grid() -> Replay:
    """All 17 cells of self-attention on numerals, of which one seed is published."""
    store = ResultStore(RESULTS / "evidence" / "numerals_terms")
    records = {record.identity: record for record in store.all_records()}
    every = replay(load_study(ROOT / "studies" / "numerals_terms.py").manifest(), records)
    name = "all self"
    return Replay({name: every.groups[name]}, {name: every.values[name]}, [], every.judgement)


def simulated(
    base: Replay,
    spreads: Mapping[str, float],
    seeds: int,
    generator: np.random.Generator,
    *,
    differences: bool = True,
) -> Replay:
    """A study with the cell means of `base`, or with equal ones, and new noise.

    Args:
        base: the study.
        spreads: the residual standard deviation of each group that is simulated.
        seeds: seeds of each cell.
        generator: of the noise.
        differences: False for equal cell means.
    """
    values: dict[str, dict[str, dict[int, float]]] = {}
    for name, sd in spreads.items():
        effects = SEED_EFFECT * sd * generator.normal(size=seeds)
        values[name] = {}
        for cell, own in base.values[name].items():
            mean = float(np.mean(list(own.values()))) if differences else 0.0
            noisy = mean + effects + sd * generator.normal(size=seeds)
            values[name][cell] = dict(enumerate(noisy.tolist()))
    groups = {
        name: replace(
            base.groups[name], seeds=dict.fromkeys(base.groups[name].seeds, tuple(range(seeds)))
        )
        for name in spreads
    }
    candidates = [
        Candidate(seed, ((name, cell),))
        for seed in range(seeds)
        for name in spreads
        for cell in values[name]
    ]
    return Replay(groups, values, candidates, base.judgement)


def spreads_of(base: Replay) -> dict[str, float]:
    """The residual standard deviation of the groups with comparisons that have one."""
    fits = {name: fit(values) for name, values in base.values.items()}
    return {
        name: found.sd
        for name, found in fits.items()
        if found.sd and (base.groups[name].comparisons or base.groups[name].grids)
    }


def settled(verdicts: Sequence[Sequence[Verdict]]) -> list[int]:
    """After each run, the contrasts that have the verdict that they have after all runs."""
    last = verdicts[-1]
    return [
        sum(now == end != "inconclusive" for now, end in zip(found, last, strict=True))
        for found in verdicts
    ]


def at(share: float, counts: Sequence[float]) -> float:
    """The entry after a share of the runs."""
    return counts[max(1, round(share * len(counts))) - 1]


def replay_rows(names: Sequence[str] = PUBLISHED) -> list[str]:
    """The rows of the first table."""
    rows: list[str] = []
    for name in names:
        study = published(name)
        plain, best = (settled(study.verdicts(informative=chosen)) for chosen in (False, True))
        shares = [f"{at(part, plain)}, {at(part, best)}" for part in (0.25, 0.5, 0.75)]
        ends = "none"
        if plain[-1]:
            ends = ", ".join(str(counts.index(plain[-1]) + 1) for counts in (plain, best))
        total = len(study.verdicts(informative=False)[-1])
        rows.append(_row(name, len(plain), total, plain[-1], *shares, ends))
    return rows


def simulated_rows(studies: int, seeds: int = 5) -> list[str]:
    """The rows of the second table: means over simulated studies."""
    bases = {name: published(name) for name in PUBLISHED}
    settings = {name: (base, spreads_of(base)) for name, base in bases.items() if name != "probes"}
    grid_sd = spreads_of(bases["numerals_terms"])["all self"]
    settings["numerals_terms, 17 cells"] = term_grid(), {"all self": grid_sd}
    rows: list[str] = []
    for name, (base, spreads) in settings.items():
        curves: dict[bool, list[list[int]]] = {False: [], True: []}
        for number in range(studies):
            study = simulated(base, spreads, seeds, np.random.default_rng(number))
            for chosen, found in curves.items():
                found.append(settled(study.verdicts(informative=chosen)))
        plain, best = (np.mean(found, axis=0).tolist() for found in curves.values())
        shares = [f"{at(part, plain):.1f}, {at(part, best):.1f}" for part in (0.4, 0.6, 0.8)]
        rows.append(_row(name, len(plain), f"{plain[-1]:.1f}", *shares))
    return rows


def false_rows(studies: int, seeds: Sequence[int] = (3, 5)) -> list[str]:
    """The rows of the third table: shares of simulated studies with a false verdict."""
    base = term_grid()
    base = replace(base, judgement=Judgement())
    rows: list[str] = []
    for count in seeds:
        for chosen in (False, True):
            found: list[list[bool]] = []
            for number in range(studies):
                generator = np.random.default_rng(number)
                study = simulated(base, {"all self": 1.0}, count, generator, differences=False)
                comparisons = len(study.groups["all self"].comparisons)
                found.append(
                    [
                        any(verdict in {"higher", "lower"} for verdict in verdicts[:comparisons])
                        for verdicts in study.verdicts(informative=chosen)
                    ]
                )
            wrong = np.array(found)
            shares = (wrong[:, wrong.shape[1] // 2], wrong[:, -1], wrong.any(axis=1))
            order = "informative" if chosen else "seed by seed"
            rows.append(_row(f"17 cells x {count}", order, *(f"{s.mean():.3f}" for s in shares)))
    return rows


def _row(*values: object) -> str:
    return f"| {' | '.join(map(str, values))} |"


REPLAY_HEAD = (
    "| study | runs | contrasts | settled by all runs | by 25 % | by 50 % | by 75 % | "
    "runs until all are settled |\n|---|---:|---:|---:|---:|---:|---:|---:|"
)
SIMULATED_HEAD = (
    "| study, 5 seeds | runs | settled by all runs | by 40 % | by 60 % | by 80 % |\n"
    "|---|---:|---:|---:|---:|---:|"
)
FALSE_HEAD = (
    "| studies without differences | order | after half of the runs | after all | ever |\n"
    "|---|---|---:|---:|---:|"
)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=100, help="simulated studies a row")
    studies = parser.parse_args().studies
    print(REPLAY_HEAD, *replay_rows(), "", sep="\n", flush=True)
    print(SIMULATED_HEAD, *simulated_rows(studies), "", sep="\n", flush=True)
    print(FALSE_HEAD, *false_rows(2 * studies), sep="\n")


if __name__ == "__main__":
    main()
