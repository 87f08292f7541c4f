"""torch's compiler, which is imported when it is used: the import takes a second.

`torch.compiler` imports all of it for a mark on a function, in each process that imports quatrain.

Source: our own.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def assume_constant_result(function: Callable[P, R]) -> Callable[P, R]:
    """Mark a function whose result the compiler may keep as a constant of a graph.

    The mark is that of `torch.compiler.assume_constant_result`, as a test checks.
    """
    vars(function)["_dynamo_marked_constant"] = True
    return function
