"""Validation during training: the primary metric by step and minutes.

| group | cell | step | training, min | valid AP50 |
| plain | w/o  | 900  |          11.0 |       6.22 |
"""

from collections.abc import Sequence

from quatrain.report.column import Column, format_fixed, number_column, text_column
from quatrain.report.curves import Curve, validation_names
from quatrain.report.metric_names import title_of

MAX_STEPS = 10
"""Steps of a curve that are shown, the last one included."""


def validation_columns(curves: Sequence[Curve], metric: str) -> list[Column]:
    """A row for some of the steps at which a cell was validated; none if it was so only once."""
    several = [each for each in curves if len(each.steps) > 1]
    logged = {each.name for each in several}
    name = next((each for each in validation_names(metric) if each in logged), None)
    chosen = [each for each in several if each.name == name]
    rows = [(curve, place) for curve in chosen for place in _spread(len(curve.steps))]
    if not rows:
        return []
    steps = [curve.steps[place] for curve, place in rows]
    values = [curve.values[place] for curve, place in rows]
    minutes = [curve.seconds[place] / 60 if curve.seconds else None for curve, place in rows]
    places = 2 if max(map(abs, values)) >= 1 else 4
    return [
        text_column("group", [curve.group for curve, _ in rows]),
        text_column("cell", [curve.cell for curve, _ in rows]),
        number_column("step", steps, lambda step: f"{step:,}"),
        number_column("training, min", minutes, lambda value: format_fixed(value, 1)),
        number_column(title_of(chosen[0].name), values, lambda value: format_fixed(value, places)),
    ]


def _spread(count: int) -> list[int]:
    """At most `MAX_STEPS` indices below `count`, evenly spaced, the last one included.

    Example:
        >>> _spread(4), len(_spread(95)), _spread(95)[-1]
        ([0, 1, 2, 3], 10, 94)
    """
    shown = min(count, MAX_STEPS)
    return [round((place + 1) * count / shown) - 1 for place in range(shown)]
