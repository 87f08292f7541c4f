"""Matplotlib for figures and pictures of results, independent of the user's settings."""

import importlib
import os
import sys
import tempfile
from contextlib import chdir
from typing import Any

from quatrain.specs import name_missing_extra


def load_matplotlib() -> Any:
    """Import matplotlib, without the user's settings if it cannot be imported with them."""
    with name_missing_extra():
        try:
            return importlib.import_module("matplotlib")
        except ModuleNotFoundError:
            raise
        except Exception:  # raised by validators, decoders and locales, of any type
            return _import_without_settings()


def default_settings() -> dict[str, Any]:
    """Matplotlib's own settings, except the backend."""
    settings = load_matplotlib().rcParamsDefault
    return {name: value for name, value in settings.items() if name != "backend"}


def _import_without_settings() -> Any:
    names = ("MPLBACKEND", "MATPLOTLIBRC")
    environment = {name: os.environ.pop(name) for name in names if name in os.environ}
    for name, module in list(sys.modules.items()):
        # Compiled modules cannot be loaded twice; the others need their package's attributes.
        if name.startswith("matplotlib.") and (module.__file__ or "").endswith(".py"):
            del sys.modules[name]
    try:
        os.environ["MATPLOTLIBRC"] = os.devnull
        with tempfile.TemporaryDirectory() as empty, chdir(empty):
            return importlib.import_module("matplotlib")
    finally:
        del os.environ["MATPLOTLIBRC"]
        os.environ.update(environment)
