"""Training and evaluation mode of modules, restored at the end of a block.

    with evaluation_mode(model), torch.no_grad():
        model(images)

Source: our own.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def restored_modes(model: nn.Module) -> Iterator[None]:
    """Restore the mode of `model` and of every module in it, each its own, at the end."""
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
