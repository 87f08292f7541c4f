"""Knock-out of a finished run, compared with the cells of its study that were trained that way."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from quatrain.results import Record
from quatrain.specs import Spec, Term
from quatrain.specs.notation import has_default_of_added_field
from quatrain.study.reopen import ReopenedRun, spec_of

if TYPE_CHECKING:
    from torch import nn

    from quatrain.switching import TermResult, TermShares
    from quatrain.switching.knockout import Evaluate


@dataclass(frozen=True)
class RetrainedCell:
    """A cell that differs from the run in its terms only, and the run with the same terms on.

    Args:
        cell: the cell's label.
        terms: the terms of each attention, by module name.
        knocked_out: the primary metric of the run with these terms on.
        retrained: the mean of the primary metric over the cell's finished seeds.
        seeds: the number of these seeds.
    """

    cell: str
    terms: dict[str, Term]
    knocked_out: float
    retrained: float
    seeds: int


@dataclass(frozen=True)
class RunKnockout:
    """The results of a run's knock-out.

    Args:
        cell: the cell of the run.
        seed: the seed of the run.
        metric: the primary metric.
        recorded: its value in the record of the run; the full set of `results` should equal it.
        results: those of `quatrain.knockout`.
        retrained: the cells to compare with, in the order of their labels.
        shares: those of `quatrain.switching.term_shares`, for the first training batch.
    """

    cell: str
    seed: int
    metric: str
    recorded: float
    results: list["TermResult"]
    retrained: list[RetrainedCell]
    shares: dict[str, "TermShares"]


def knockout_run(run: ReopenedRun, at: str | None = None) -> RunKnockout:
    """Knock out terms of a finished run; with `at`, only in the modules that match this glob.

    Raises:
        InputError: if the model has no attention there.
    """
    from quatrain.switching import knockout, term_shares

    def evaluate(objective: "nn.Module") -> Mapping[str, float]:
        return run.task.evaluate(objective, run.folder).metrics

    device = next(run.objective.parameters()).device
    batch = run.task.collate(run.task.batches(0)[0])
    batch = {name: value.to(device) for name, value in batch.items()}
    return RunKnockout(
        cell=run.record.cell,
        seed=run.record.seed,
        metric=run.metric,
        recorded=run.record.metrics[run.metric],
        results=knockout(run.objective, evaluate, at=at),
        retrained=_retrained(run, evaluate, at),
        shares=term_shares(run.objective, at=at, **batch),
    )


def differs_in_terms_only(spec: object, other: object) -> bool:
    """Whether two specs, as dictionaries, are equal but for the values of fields named `terms`."""
    if isinstance(spec, dict) and isinstance(other, dict):
        left, right = (
            {name: x for name, x in side.items() if not has_default_of_added_field(name, x)}
            for side in (cast("dict[str, Any]", spec), cast("dict[str, Any]", other))
        )
        return left.keys() == right.keys() and all(
            (
                name == "terms"
                and isinstance(left[name], str)
                and len(left[name]) == len(right[name])
            )
            or differs_in_terms_only(left[name], right[name])
            for name in left
        )
    if isinstance(spec, list) and isinstance(other, list):
        pair = cast("list[object]", spec), cast("list[object]", other)
        return len(pair[0]) == len(pair[1]) and all(map(differs_in_terms_only, *pair))
    return spec == other


def _retrained(run: ReopenedRun, evaluate: "Evaluate", at: str | None) -> list[RetrainedCell]:
    from quatrain.switching.knockout import evaluate_model
    from quatrain.switching.switch import attentions_in, switch

    attentions = attentions_in(run.objective)
    built = {name: module.spec.terms for name, module in attentions.items()}
    fixed = {
        name: terms for name, terms in built.items() if name not in attentions_in(run.objective, at)
    }
    cells: list[RetrainedCell] = []
    for records in _records_by_spec(run):
        terms = _terms_of(run, spec_of(records[0], type(run.spec)))
        smaller = {name: each & built.get(name, Term(0)) for name, each in terms.items()}
        if terms.keys() != built.keys() or terms != smaller or not fixed.items() <= terms.items():
            continue
        with ExitStack() as switches:
            for name, module in attentions.items():
                switches.enter_context(switch(module, terms[name]))
            knocked_out = evaluate_model(run.objective, evaluate)[run.metric]
        values = [record.metrics[run.metric] for record in records]
        mean = sum(values) / len(values)
        cells.append(RetrainedCell(records[0].cell, terms, knocked_out, mean, len(values)))
    return sorted(cells, key=lambda cell: cell.cell)


def _records_by_spec(run: ReopenedRun) -> list[list[Record]]:
    """The records of the results folder whose specs differ from the run's in their terms only."""
    by_spec: dict[str, list[Record]] = {}
    for record in run.store.all_records():
        is_alike = record.spec_name == run.record.spec_name and run.metric in record.metrics
        if is_alike and differs_in_terms_only(run.record.spec, record.spec):
            by_spec.setdefault(str(record.spec), []).append(record)
    return [records for text, records in by_spec.items() if text != str(run.record.spec)]


def _terms_of(run: ReopenedRun, spec: Spec) -> dict[str, Term]:
    """The terms of each attention of a spec's model."""
    from quatrain.switching.switch import attentions_in

    objective = run.open(spec).build()
    return {name: module.terms for name, module in attentions_in(objective).items()}
