"""Studies: a grid of cells and seeds, and the runner that executes each run once."""

from quatrain.results import Comparison, Expectation
from quatrain.study.budget import LeftOut
from quatrain.study.expectations import expected_cells
from quatrain.study.grid import Cell, Run, Study, TaskSpec
from quatrain.study.load import load_study
from quatrain.study.protocol import Event
from quatrain.study.resources import Resources, allocate
from quatrain.study.runner import RunSummary, Selection, run_study

__all__ = [
    "Cell",
    "Comparison",
    "Event",
    "Expectation",
    "LeftOut",
    "Resources",
    "Run",
    "RunSummary",
    "Selection",
    "Study",
    "TaskSpec",
    "allocate",
    "expected_cells",
    "load_study",
    "run_study",
]
