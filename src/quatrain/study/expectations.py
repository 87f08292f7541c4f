"""Cells with expectations, from a table of predictions.

PREDICTIONS = [
    ("0010|0011", {"low": 95.0}, "E3 weighs each key by its mark"),
    ("0000", {"high": 25.0}, "the weights ignore the content of keys"),
]
cells = expected_cells("saliency", {name: probe(name) for name in MECHANISMS}, PREDICTIONS)
"""

from collections.abc import Iterable, Mapping

from quatrain.results import Expectation
from quatrain.results.changes import join_names
from quatrain.specs import Spec, StudyError
from quatrain.specs.errors import shorten
from quatrain.study.grid import Cell

Prediction = tuple[str, Mapping[str, float], str]
"""Names of cells, separated by "|"; the bounds `low` and `high` of the metric; and the reason."""


def expected_cells(
    group: str, specs: Mapping[str, Spec], predictions: Iterable[Prediction]
) -> list[Cell]:
    """The cells of a group by the names of their specs, each with its expectation.

    Raises:
        StudyError: if a cell has no prediction or two, or a prediction names an unknown cell.
    """
    expected: dict[str, Expectation] = {}
    for names, bounds, reason in predictions:
        for name in names.split("|"):
            if name not in specs:
                text = f'the predictions of group="{group}" name {shorten(name)}, which is no cell'
                raise StudyError(f"{text}; use {join_names(list(specs))}", "predictions")
            if name in expected:
                text = f'the predictions of group="{group}" name {shorten(name)} twice'
                raise StudyError(f"{text}; leave one of them out", "predictions")
            low, high = bounds.get("low"), bounds.get("high")
            expected[name] = Expectation(low=low, high=high, because=reason)
    missing = [name for name in specs if name not in expected]
    if missing:
        text = f'the predictions of group="{group}" do not name {join_names(missing)}'
        raise StudyError(f"{text}; add a prediction for each cell", "predictions")
    return [
        Cell(name=name, group=group, spec=spec, expected=expected[name])
        for name, spec in specs.items()
    ]
