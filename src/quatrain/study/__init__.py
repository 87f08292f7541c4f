"""Studies: a grid of cells and seeds, and the runner that does each run once."""

from quatrain.results import Expectation
from quatrain.study.grid import Cell, Comparison, Run, Study, TaskSpec
from quatrain.study.load import load_study
from quatrain.study.messages import Event
from quatrain.study.placement import Placement, place
from quatrain.study.runner import RunSummary, Selection, run_study

__all__ = [
    "Cell",
    "Comparison",
    "Event",
    "Expectation",
    "Placement",
    "Run",
    "RunSummary",
    "Selection",
    "Study",
    "TaskSpec",
    "load_study",
    "place",
    "run_study",
]
