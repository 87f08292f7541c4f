"""What TorchScript makes of our modules: no script at all, and a trace that serves one size.

Source: our own; `torch.export` is the way of torch itself since version 2.
"""

import warnings

import torch
from torch import nn

from quatrain.specs import InputError


def refuse_scripting(module: nn.Module) -> nn.Module:
    """Refuse `torch.jit.script`, which asks a module's `__prepare_scriptable__` first.

    Raises:
        InputError: always.
    """
    raise InputError(
        "module",
        type(module).__name__,
        "one written for torch.jit.script, whose language has no specs and no shapes",
        "export it by torch.export.export",
    )


def warn_of_tracing(module: nn.Module) -> None:
    """Warn within `torch.jit.trace`, which keeps the sizes of its example as constants."""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        warnings.warn(
            f"a trace of {type(module).__name__} is right for inputs of its example's size only; "
            "torch.export.export serves others",
            stacklevel=2,
        )
