"""How far trainings had come on the way: the primary metric of the validation side, by minutes.

| group | cell | step | training, min | valid AP50 |
| plain | w/o  | 900  |          11.0 |       6.22 |
"""

from collections.abc import Sequence

from quatrain.report.column import ABSENT, Column, format_fixed, text_column
from quatrain.report.curves import Curve, validation_names
from quatrain.report.metric_names import title_of

MOST = 10
"""Steps of a curve that are shown, the last one among them."""


def validation_columns(curves: Sequence[Curve], metric: str) -> list[Column]:
    """A row for each of some steps at which a run was validated; none where it was so once."""
    several = [each for each in curves if len(each.steps) > 1]
    logged = {each.name for each in several}
    name = next((each for each in validation_names(metric) if each in logged), None)
    chosen = [each for each in several if each.name == name]
    rows = [(curve, number) for curve in chosen for number in _spread(len(curve.steps))]
    if not rows:
        return []
    steps = tuple(curve.steps[number] for curve, number in rows)
    values = tuple(curve.values[number] for curve, number in rows)
    minutes = tuple(curve.seconds[number] / 60 if curve.seconds else None for curve, number in rows)
    places = 2 if max(map(abs, values)) >= 1 else 4
    told = tuple(ABSENT if each is None else format_fixed(each, 1) for each in minutes)
    return [
        text_column("group", [curve.group for curve, _ in rows]),
        text_column("cell", [curve.cell for curve, _ in rows]),
        Column("step", tuple(f"{each:,}" for each in steps), steps, numeric=True),
        Column("training, min", told, minutes, numeric=True),
        Column(
            title_of(chosen[0].name),
            tuple(format_fixed(x, places) for x in values),
            values,
            numeric=True,
        ),
    ]


def _spread(count: int) -> list[int]:
    """Numbers below `count`, at most `MOST` of them, evenly and with the last.

    Example:
        >>> _spread(4), len(_spread(95)), _spread(95)[-1]
        ([0, 1, 2, 3], 10, 94)
    """
    shown = min(count, MOST)
    return [round((place + 1) * count / shown) - 1 for place in range(shown)]
