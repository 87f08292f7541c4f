"""torch's compiler and exporter.

The compiler is imported when it is used, since the import takes a second. `torch.compiler` imports
all of it for a mark on a function, in each process that imports quatrain.

Source: our own.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def assume_constant_result(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function whose result the compiler may keep as a constant of a graph.

    The mark is that of `torch.compiler.assume_constant_result`, as a test checks.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function


@assume_constant_result
def is_exported_to_onnx() -> bool:
    """Whether `torch.onnx.export` runs, also where it uses the tracer of `torch.compile`.

    That tracer takes `torch.onnx.is_in_onnx_export()` itself to be False.
    """
    return torch.onnx.is_in_onnx_export()
