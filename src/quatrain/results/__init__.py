"""Results of a study: records of runs, their folder, and statistics over seeds."""

from quatrain.results.changes import (
    changed_files,
    comparable,
    join_names,
    notes_on_files,
    pluralize,
)
from quatrain.results.files import CHECKPOINT, write_atomically
from quatrain.results.record import (
    Comparison,
    Expectation,
    Failure,
    Manifest,
    ManifestCell,
    Measurement,
    Record,
    Session,
)
from quatrain.results.statistics import Summary
from quatrain.results.store import ResultStore, RunState

__all__ = [
    "CHECKPOINT",
    "Comparison",
    "Expectation",
    "Failure",
    "Manifest",
    "ManifestCell",
    "Measurement",
    "Record",
    "ResultStore",
    "RunState",
    "Session",
    "Summary",
    "changed_files",
    "comparable",
    "join_names",
    "notes_on_files",
    "pluralize",
    "write_atomically",
]
