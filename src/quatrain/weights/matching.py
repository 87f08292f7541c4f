"""Compare the tensors of a file with those of a model: names, shapes and types.

problems = misfits(tensors, model.state_dict())
if problems:
    raise ValueError(describe_misfits(problems))
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_LISTED = 20
"""Problems that a message lists; it counts the others."""


def misfits(tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """One phrase for each tensor that is missing, is not in the model, or does not fit.

    The values of tensors are not read, and `expected` may be on the meta device.
    """
    problems = [f"{name} is missing" for name in expected if name not in tensors]
    problems += [f"{name} is not in this model" for name in tensors if name not in expected]
    for name, value in expected.items():
        problem = _problem(tensors[name], value) if name in tensors else None
        problems += [] if problem is None else [f"{name} {problem}"]
    return problems


def describe_misfits(problems: list[str]) -> str:
    """The problems in one phrase, at most 20 of them by name."""
    more = len(problems) - _LISTED
    listed = ", ".join(problems[:_LISTED])
    return f"{listed} and {more} more" if more > 0 else listed


def _problem(tensor: Tensor, expected: Tensor) -> str | None:
    if tensor.is_nested or tensor.is_quantized or tensor.layout != torch.strided:
        return "is sparse, nested or quantized"
    if tensor.shape != expected.shape:
        shape, shape_here = tuple(tensor.shape), tuple(expected.shape)
        return f"has shape {shape} in the file and {shape_here} in this model"
    if tensor.is_floating_point() != expected.is_floating_point():
        return f"has type {tensor.dtype} in the file and {expected.dtype} in this model"
    return None
