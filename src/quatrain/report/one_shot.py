"""One-shot trainings of a study, compared with the trainings of single term sets.

The group "one-shot self" is compared with the group "self", whose cells are named by term sets.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

from quatrain.report.columns import ABSENT, number_column, text_column
from quatrain.report.markdown import to_markdown
from quatrain.report.runs import metric_of
from quatrain.report.text import format_fixed, title_of
from quatrain.results import ManifestCell, Record, ResultStore
from quatrain.results.rank_agreement import RankAgreement, rank_agreement
from quatrain.specs import StudyError

PREFIX = "one-shot "
_SETS = {"sampled": 1, "sandwich": 3}
"""Term sets in a step, by the `terms` of a recipe."""


@dataclass(frozen=True)
class OneShot:
    """A one-shot training and the order of its term sets.

    Args:
        group: the group of the single term sets.
        variant: the name of the one-shot cell.
        seeds: the number of its finished seeds.
        cost: passes forward and backward, as a share of those of the whole group, for each seed;
            a term set without a finished run counts as much as the mean of the others.
        scores: the primary metric with shared weights, mean over seeds, by term set.
        agreement: the order of the sets by the mean over seeds.
        tau_by_seed: Kendall's tau over the significant pairs for each seed alone.
    """

    group: str
    variant: str
    seeds: int
    cost: float
    scores: dict[str, float]
    agreement: RankAgreement
    tau_by_seed: tuple[float | None, ...]


@dataclass(frozen=True)
class OneShotReport:
    """All one-shot trainings of a study, and the metrics of single term sets by group."""

    metric: str
    trained: dict[str, dict[str, dict[int, float]]]
    """By group, term set and seed."""
    trainings: tuple[OneShot, ...]


def one_shot_report(store: ResultStore) -> OneShotReport:
    """Read the one-shot trainings of a results folder.

    Raises:
        StudyError: if there is none with a finished run, or too few term sets to compare with.
    """
    manifest = store.manifest()
    records: dict[str, dict[str, list[Record]]] = {}
    for cell in manifest.cells:
        records.setdefault(cell.group, {})[cell.name] = _finished(store, cell)
    trained: dict[str, dict[str, dict[int, float]]] = {}
    trainings: list[OneShot] = []
    for group, cells in records.items():
        base = group.removeprefix(PREFIX)
        if base == group or base not in records:
            continue
        singles = records[base]
        trained[base] = {
            name: {record.seed: metric_of(record, manifest.metric) for record in found}
            for name, found in singles.items()
            if found
        }
        known = [_passes(found[0].spec) for found in singles.values() if found]
        passes = fmean(known) * len(singles) if known else nan
        trainings += [
            _one_shot(base, name, found, manifest.metric, trained[base], passes)
            for name, found in cells.items()
            if found
        ]
    if not trainings:
        message = f"{store.root} has no finished run of a group that begins with {PREFIX!r}"
        raise StudyError(f"{message}; run one, as in studies/numerals_one_shot.py", "results")
    return OneShotReport(manifest.metric, trained, tuple(trainings))


def one_shot_markdown(report: OneShotReport) -> str:
    """The tables as Markdown: the agreement of each training, then the metric of each set."""
    rows = report.trainings
    agreements = [row.agreement for row in rows]
    tables = [
        to_markdown(
            [
                text_column("attention", [row.group for row in rows]),
                text_column("training", [row.variant for row in rows]),
                number_column("seeds", [row.seeds for row in rows], str),
                number_column("% of the grid", [100 * row.cost for row in rows], _one_place),
                number_column("Kendall's tau", [found.tau for found in agreements], _two_places),
                text_column(
                    "pairs alike",
                    [f"{found.concordant} of {found.significant}" for found in agreements],
                ),
                text_column("tau by seed", [_taus(row.tau_by_seed) for row in rows]),
                number_column(
                    "tau, all pairs", [found.tau_of_all for found in agreements], _two_places
                ),
            ]
        )
    ]
    for group, trained in report.trained.items():
        means = {terms: fmean(values.values()) for terms, values in trained.items()}
        order = sorted(means, key=lambda terms: -means[terms])
        columns = [
            text_column(f"terms, {group}", order),
            number_column("seeds", [len(trained[terms]) for terms in order], str),
            number_column(
                f"{title_of(report.metric)}, trained alone", [means[t] for t in order], _two_places
            ),
        ]
        columns += [
            number_column(row.variant, [row.scores.get(terms) for terms in order], _two_places)
            for row in rows
            if row.group == group
        ]
        tables.append(to_markdown(columns))
    return "\n".join(tables)


def _one_place(value: float) -> str:
    return format_fixed(value, 1)


def _two_places(value: float) -> str:
    return format_fixed(value, 2)


def _taus(taus: tuple[float | None, ...]) -> str:
    return ", ".join(ABSENT if tau is None else _two_places(tau) for tau in taus)


def _finished(store: ResultStore, cell: ManifestCell) -> list[Record]:
    records = (store.record(identity) for identity in cell.identities.values())
    return [record for record in records if record is not None]


def _one_shot(
    group: str,
    variant: str,
    records: list[Record],
    metric: str,
    trained: Mapping[str, Mapping[int, float]],
    passes: float,
) -> OneShot:
    by_seed = [_by_set(record, metric) for record in records]
    scores = {terms: fmean(scores[terms] for scores in by_seed) for terms in by_seed[0]}
    return OneShot(
        group=group,
        variant=variant,
        seeds=len(records),
        cost=_passes(records[0].spec) / passes,
        scores=scores,
        agreement=rank_agreement(trained, scores),
        tau_by_seed=tuple(rank_agreement(trained, own).tau for own in by_seed),
    )


def _by_set(record: Record, metric: str) -> dict[str, float]:
    if record.term_sets is None:
        message = f"{record.cell} seed {record.seed} has no metrics of term sets"
        raise StudyError(f'{message}; train it with Recipe(terms="sampled")', "term_sets")
    return {terms: metrics[metric] for terms, metrics in record.term_sets.items()}


def _passes(spec: Mapping[str, Any]) -> int:
    """Passes forward and backward of a training."""
    recipe = spec["recipe"]
    return recipe["steps"] * recipe["accumulate"] * _SETS.get(recipe.get("terms", "fixed"), 1)
