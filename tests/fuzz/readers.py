"""All readers of untrusted files, by the name that `python tests/fuzz` knows."""

from fuzz.case import Reader
from fuzz.data_files import DATA_FILES
from fuzz.stored_files import STORED_FILES
from fuzz.weight_files import WEIGHT_FILES

READERS: dict[str, Reader] = {**STORED_FILES, **DATA_FILES, **WEIGHT_FILES}
EXPENSIVE = {"report": 5}
"""Readers that get fewer inputs, one for each this many."""
