"""What a study leaves behind: records of runs, their folder, and statistics over seeds."""

from quatrain.results.files import write_atomically
from quatrain.results.record import (
    Expectation,
    Failure,
    Manifest,
    ManifestCell,
    ManifestComparison,
    Measurement,
    Record,
    Sitting,
    changed_files,
)
from quatrain.results.statistics import Summary, holm, paired_difference, summarize
from quatrain.results.store import ResultStore, RunState

__all__ = [
    "Expectation",
    "Failure",
    "Manifest",
    "ManifestCell",
    "ManifestComparison",
    "Measurement",
    "Record",
    "ResultStore",
    "RunState",
    "Sitting",
    "Summary",
    "changed_files",
    "holm",
    "paired_difference",
    "summarize",
    "write_atomically",
]
