"""TorchScript: scripting is refused, and tracing warns that a trace serves one size only.

Source: our own; torch recommends `torch.export` since version 2.
"""

import warnings

import torch
from torch import nn

from quatrain.specs import InputError


def refuse_scripting(module: nn.Module) -> nn.Module:
    """Refuse `torch.jit.script`; it calls a module's `__prepare_scriptable__` first.

    Raises:
        InputError: always.
    """
    raise InputError(
        "module",
        type(module).__name__,
        "a module that torch.jit.script supports (it has neither specs nor shape annotations)",
        "use torch.export.export",
    )


def warn_of_tracing(module: nn.Module) -> None:
    """Warn in `torch.jit.trace`, which records the sizes of its example as constants."""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        warnings.warn(
            f"a trace of {type(module).__name__} is valid for inputs of the example's size only; "
            "use torch.export.export for other sizes",
            stacklevel=2,
        )
