"""The arguments that modules of somebody's model are called with, and those that a mixer reads."""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from quatrain.specs import InputError

_PLAIN = (bool, int, float, str, tuple, type(None))


@dataclass(frozen=True)
class Parameters:
    """The names and defaults of the arguments of a module's `forward`."""

    positional: tuple[str, ...] = ()
    names: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)

    def by_name(self, inputs: tuple[Any, ...], named: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments of one call by their names, the first one first."""
        names = [*self.positional, *(f"argument {n + 1}" for n in range(len(inputs)))]
        arguments = dict(zip(names, inputs, strict=False))
        for name in self.positional:
            if name in named:
                arguments[name] = named[name]
        return arguments | dict(named)

    def unset(self, name: str, value: object) -> bool:
        """Whether a call with this value is one without it."""
        if value is None or value is False:
            return True
        if isinstance(value, Tensor) or name not in self.defaults:
            return False
        default = self.defaults[name]
        return type(default) is type(value) and default == value


@dataclass(frozen=True)
class Reads:
    """Which arguments a mixer reads, besides the first, when its place is called."""

    parameters: Parameters = Parameters()
    causal: bool = False
    """Whether an output sees only positions at or before its own, in every call."""
    causal_flag: str | None = None
    """The argument of the place that says so."""
    padding: str | None = None
    """The argument that marks padding."""
    of_model: bool = False
    """Whether `padding` is an argument of the model, not of the place."""
    sizes: tuple[str, ...] = ()
    """The arguments that hold the height and width of a map whose pixels are a sequence."""
    unread: frozenset[str] = frozenset()
    """Arguments of the place that the caller has accounted for in other words."""
    expects_masks: bool = True
    """Whether the place may be called with masks that the mixer does not read."""

    @property
    def of_call(self) -> tuple[str, ...]:
        """The arguments of the place that are read."""
        flag = () if self.causal_flag is None else (self.causal_flag,)
        padding = () if self.padding is None or self.of_model else (self.padding,)
        return (*flag, *padding, *self.sizes)


def parameters_of(module: nn.Module) -> Parameters:
    """The arguments of its `forward`; those of its place, if the module wraps one."""
    reads = module.__dict__.get("reads")
    if isinstance(reads, Reads):
        return reads.parameters
    try:
        signature = inspect.signature(module.forward)
    except (TypeError, ValueError):  # of a scripted module
        return Parameters()
    every = [
        each
        for each in signature.parameters.values()
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD)
    ]
    return Parameters(
        tuple(each.name for each in every if each.kind is not each.KEYWORD_ONLY),
        frozenset(each.name for each in every),
        {each.name: each.default for each in every if isinstance(each.default, _PLAIN)},
    )


def refuse_unread(x: Tensor, unread: dict[str, Any]) -> Tensor:
    """The tensor that the mixer reads, if no argument is given that it does not read.

    Raises:
        InputError: naming the argument.
    """
    for name, value in unread.items():
        if value is not None and value is not False:
            expected = "none, as in the example that the mixer was put there with"
            remedy = "leave it out, or insert with an example of such a call"
            raise InputError(name, f"a {type(value).__name__}", expected, remedy)
    return x


def height_and_width(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """(H, W) of two numbers, or of one argument that holds both."""
    return tuple(sizes[0]) if len(sizes) == 1 else sizes
