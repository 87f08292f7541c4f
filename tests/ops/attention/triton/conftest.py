"""Kernels are interpreted here; where there is a GPU, the tests of devices run them on it."""

import importlib.util
import os
from pathlib import Path

import pytest

HERE = Path(__file__).parent
COMPILED = {"test_compilation.py", "test_launch_config.py"}
"""Test files that interpret no kernel."""


def pytest_collection_modifyitems(items):
    """Skip tests of interpreted kernels where nothing interprets them."""
    if "TRITON_INTERPRET" in os.environ and importlib.util.find_spec("triton") is not None:
        return
    for item in items:
        if item.path.parent == HERE and item.path.name not in COMPILED:
            item.add_marker(pytest.mark.skip(reason="Triton does not interpret kernels here"))
