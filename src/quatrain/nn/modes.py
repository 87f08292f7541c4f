"""Training and evaluation mode of modules, restored at the end of a block.

    with evaluation_mode(model), torch.no_grad():
        model(images)

Source: our own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Restore the modes of `model` and of all modules in it at the end."""
    modes = [(module, module.training) for module in model.modules()]
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode


@contextmanager
def evaluation_mode(model: nn.Module) -> Iterator[None]:
    """Switch `model` to evaluation mode within the block; see `restored_modes`."""
    with restored_modes(model):
        model.eval()
        yield


@contextmanager
def unfused_evaluation(model: nn.Module) -> Iterator[None]:
    """Evaluation mode in which every module is called and every operator runs by itself.

    Compiled code runs eagerly, and torch's encoder layers do not use their fused operator.
    """
    fastpath = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with evaluation_mode(model), torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
