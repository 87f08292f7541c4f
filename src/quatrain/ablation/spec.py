"""The spec of an ablation's cell: the mixer, its place in the network, and the user's code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self
from weakref import WeakSet

import torch
from pydantic import Field, PrivateAttr, model_validator
from torch import nn

from quatrain.insertion import Layout, Surgery, insert, replace
from quatrain.nn import Mixer
from quatrain.specs import Spec, SpecError, StudyError
from quatrain.specs.errors import shorten

if TYPE_CHECKING:
    from quatrain.ablation.task import AblationTask

Build = Callable[[], nn.Module]
Train = Callable[..., object]
Evaluate = Callable[[nn.Module, torch.device], Mapping[str, Any]]


Placement = Literal["before", "after", "at"]


class Place(Spec):
    """The modules of the network that get a mixer; the other fields are as in `insert`."""

    placement: Placement
    """Before or after these modules, with a residual connection, or in place of them."""
    pattern: str
    """A pattern of module names, as in `quatrain.find`."""
    layout: Layout | None = None
    causal: bool | None = None
    key_padding_mask: str | Literal[False] | None = None
    ignore: tuple[str, ...] = ()
    """Arguments of replaced modules that the mixer ignores, as in `replace`."""

    @model_validator(mode="after")
    def _check_ignore(self) -> Self:
        if self.ignore and self.placement != "at":
            raise SpecError(
                f"ignore={shorten(list(self.ignore))} has no effect {self.placement} a module; "
                "leave it out, or replace modules by at=",
                "ignore",
            )
        return self

    def put(self, mixer: Mixer, network: nn.Module, example: Any, seed: int) -> Surgery:
        """Insert the mixer into `network`, or replace modules by it."""
        options: dict[str, Any] = {
            "layout": self.layout,
            "causal": self.causal,
            "key_padding_mask": self.key_padding_mask,
            "example": example,
            "seed": seed,
        }
        if self.placement == "at":
            return replace(network, mixer, at=self.pattern, ignore=self.ignore, **options)
        return insert(network, mixer, **{self.placement: self.pattern}, **options)


@dataclass(frozen=True)
class Functions:
    """The user's functions, and an input of the network."""

    build: Build
    train: Train
    evaluate: Evaluate
    example: Any
    metric: str
    """The primary metric, which `evaluate` returns."""
    built: WeakSet[nn.Module] = field(default_factory=WeakSet, compare=False, repr=False)
    """Networks that `build` returned."""

    def __post_init__(self) -> None:
        """Check that they are functions."""
        for name in ("build", "train", "evaluate"):
            value = getattr(self, name)
            if not callable(value):
                message = f"{name}={shorten(value)} is no function; pass the function itself"
                raise StudyError(message, name)

    @property
    def code(self) -> tuple[Callable[..., Any], ...]:
        """The functions whose code decides a result."""
        return self.build, self.train, self.evaluate


class AblationSpec(Spec):
    """What decides the result of a run, except its seed."""

    kind: Literal["ablation"] = "ablation"
    mixer: Mixer | None = None
    """The mixer at the place; None for the network as it is."""
    place: Place
    settings: dict[str, Any] = Field(default_factory=dict)
    """Values that the user declares to decide the result, such as the number of epochs."""
    code: str
    """The hash of the user's functions, and of the code that they depend on."""
    _functions: Functions | None = PrivateAttr(default=None)

    def with_functions(self, functions: Functions) -> "AblationSpec":
        """The same spec with the functions that `open` needs."""
        self._functions = functions
        return self

    def open(self, data: Path | None, folder: Path, seed: int) -> "AblationTask":  # noqa: ARG002
        """The task of one run.

        Raises:
            StudyError: if the spec was read from a file, which has no functions.
        """
        from quatrain.ablation.task import AblationTask

        if self._functions is None:
            raise StudyError("the spec has no functions; use that of the study file", "functions")
        return AblationTask(self, self._functions, seed)
