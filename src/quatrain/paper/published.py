"""The paper's published numbers, from the data file `published.json` beside this module.

A point is one configuration of a figure (or a lone entry of a table); a pair is one row of a
table that compares two configurations. "0100@31" is a window of 31, "+deformable" a deformable
convolution beside the attention, "w/o" a network without the attention module.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources


@dataclass(frozen=True)
class Point:
    """Accuracy (mAP, mIoU or BLEU) and cost of one configuration; `note` says what is odd."""

    table: str
    task: str
    config: str
    accuracy: float
    giga_multiply_adds: float
    note: str


@dataclass(frozen=True)
class Pair:
    """Two configurations side by side, left then right; `percent` is the change in cost.

    `note` says what is odd about the cost on the right.
    """

    table: str
    task: str
    left: str
    right: str
    accuracy: tuple[float, float]
    giga_multiply_adds: tuple[float, float]
    percent: float
    note: str


def points(table: str) -> tuple[Point, ...]:
    """The points of one table, in the paper's order, such as those of "figure-3c"."""
    return tuple(Point(**entry) for entry in _document()["points"] if entry["table"] == table)


def pairs(table: str, task: str) -> tuple[Pair, ...]:
    """The pairs of "table-2" or "table-3" for one task."""
    return tuple(
        Pair(
            table=table,
            task=task,
            left=entry["left"],
            right=entry["right"],
            accuracy=tuple(entry["accuracy"]),
            giga_multiply_adds=tuple(entry["giga_multiply_adds"]),
            percent=entry["percent"],
            note=entry.get("note", ""),
        )
        for entry in _document()["pairs"]
        if (entry["table"], entry["task"]) == (table, task)
    )


def configurations(table: str, task: str) -> tuple[Point, ...]:
    """Every configuration of a table once: its lone points, then both sides of its pairs."""
    found = {point.config: point for point in points(table) if point.task == task}
    for pair in pairs(table, task):
        names, notes = (pair.left, pair.right), ("", pair.note)
        sides = zip(names, pair.accuracy, pair.giga_multiply_adds, notes, strict=True)
        for config, accuracy, cost, note in sides:
            found.setdefault(config, Point(table, task, config, accuracy, cost, note))
    return tuple(found.values())


def gain(left: str, right: str, tables: Sequence[str], task: str) -> float | None:
    """What `left` gained over `right`; None where the tables do not have both.

    Where two tables have a configuration, the last one counts.
    """
    found = {point.config: point for table in tables for point in configurations(table, task)}
    if not {left, right} <= found.keys():
        return None
    return round(found[left].accuracy - found[right].accuracy, 2)


@functools.cache
def _document() -> dict:
    return json.loads(
        resources.files("quatrain.paper").joinpath("published.json").read_text("utf-8")
    )
