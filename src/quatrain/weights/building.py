"""Build a module from a spec of unknown origin, once its tensors are known to fit.

    build_for(tensors, lambda: spec.build(classes))     # the module, or a ValueError

A spec may describe a module of any size. It is first built without memory for its values, and only
until it has many more parts than the file has tensors.
"""

import threading
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.modules import module as registration

from quatrain.specs import QuatrainError
from quatrain.weights.matching import describe_misfits, misfits

M = TypeVar("M", bound=nn.Module)

_PARTS_OF_A_TENSOR = 20
_PARTS = 2000
"""The parts, modules and parameters, that a module may have in addition to those of its tensors."""


def build_for(tensors: Mapping[str, Tensor], build: Callable[[], M]) -> M:
    """The module that `build` creates, if the tensors of a file, by name, fit it.

    `build` is called twice; torch's random state is not changed.

    Raises:
        ValueError: if there is no such module, or the tensors do not fit it.
    """
    problems = misfits(tensors, expected_tensors(build, len(tensors)))
    if problems:
        raise ValueError(describe_misfits(problems))
    with torch.random.fork_rng(devices=[]):
        return build()


def expected_tensors(build: Callable[[], nn.Module], number: int) -> dict[str, Tensor]:
    """The state_dict of the module that `build` creates, without memory for its values.

    Raises:
        ValueError: if there is no such module, or it has far more than this number of tensors.
    """
    with (
        torch.random.fork_rng(devices=[]),
        torch.device("meta"),
        _at_most(_PARTS + _PARTS_OF_A_TENSOR * number),
    ):
        try:
            return build().state_dict()
        except (QuatrainError, ArithmeticError, MemoryError, RuntimeError, TypeError) as error:
            raise ValueError(str(error) or type(error).__name__) from error


@contextmanager
def _at_most(parts: int) -> Generator[None]:
    """In the block, a RuntimeError for one more module or parameter in this thread."""
    count, thread = 0, threading.get_ident()

    def register(_module: nn.Module, _name: str, _part: object) -> None:
        nonlocal count
        count += threading.get_ident() == thread
        if count > parts:
            raise RuntimeError(f"it has more than {parts} modules and parameters")

    hooks = [
        registration.register_module_module_registration_hook(register),
        registration.register_module_parameter_registration_hook(register),
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
