"""Published numbers of the paper, and of mmdetection, read from `published.json` in this folder.

A point is one configuration of a figure (or a single entry of a table); a pair is one row of a
table that compares two configurations. "0100@31" has a window of 31, "+deformable" a deformable
convolution in addition to attention, and "w/o" no attention module.
"""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Point:
    """Accuracy (mAP, mIoU or BLEU) and cost of one configuration; `note` comments on the cost."""

    table: str
    task: str
    config: str
    accuracy: float
    giga_multiply_adds: float
    note: str


@dataclass(frozen=True)
class Pair:
    """Two configurations, left and right; `percent` is the change in cost.

    `note` comments on the cost of the right one.
    """

    table: str
    task: str
    left: str
    right: str
    accuracy: tuple[float, float]
    giga_multiply_adds: tuple[float, float]
    percent: float
    note: str = ""


def points(table: str) -> tuple[Point, ...]:
    """The points of one table, for example "figure-3c", in the paper's order."""
    return tuple(Point(**entry) for entry in _document()["points"] if entry["table"] == table)


def pairs(table: str, task: str) -> tuple[Pair, ...]:
    """The pairs of "table-2" or "table-3" for one task."""
    return tuple(
        Pair(**entry | {name: tuple(entry[name]) for name in ("accuracy", "giga_multiply_adds")})
        for entry in _document()["pairs"]
        if (entry["table"], entry["task"]) == (table, task)
    )


def configurations(table: str, task: str) -> tuple[Point, ...]:
    """Every configuration of a table once: its points, then both sides of its pairs."""
    known = {point.config: point for point in points(table) if point.task == task}
    for pair in pairs(table, task):
        names, notes = (pair.left, pair.right), ("", pair.note)
        sides = zip(names, pair.accuracy, pair.giga_multiply_adds, notes, strict=True)
        for config, accuracy, cost, note in sides:
            known.setdefault(config, Point(table, task, config, accuracy, cost, note))
    return tuple(known.values())


def gain(left: str, right: str, tables: Sequence[str], task: str) -> float | None:
    """The accuracy of `left` minus that of `right`; None if the tables lack one of them.

    If several tables have a configuration, the last one is used.
    """
    known = {point.config: point for table in tables for point in configurations(table, task)}
    if not {left, right} <= known.keys():
        return None
    return round(known[left].accuracy - known[right].accuracy, 2)


def mmdetection() -> Mapping[str, float]:
    """The box AP of mmdetection, which has the paper's detector, on COCO by configuration.

    Example:
        >>> mmdetection()["0010+deformable"]
        42.0
    """
    return _document()["mmdetection"]["accuracy"]


@functools.cache
def _document() -> dict:
    return json.loads(
        resources.files("quatrain.paper").joinpath("published.json").read_text("utf-8")
    )
