"""Choose the arguments of a call that a mixer reads, and refuse those that it cannot honour.

A mixer in a model that masks positions must mask them too, or the future changes the past and
padding changes real tokens. So every mask and causal flag must be read, or ruled out by the caller.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from quatrain.insertion.example_pass import ExamplePass, Signature, ancestors, signature_of
from quatrain.insertion.masks import (
    check_padding_mask,
    hides_keys,
    is_causal_mask,
    is_mask,
    is_padding_mask,
    is_padding_name,
)
from quatrain.insertion.shapes import PERMUTATIONS, ActivationShape, Placement
from quatrain.specs import InputError
from quatrain.specs.errors import shorten

PaddingArgument = str | Literal[False] | None
"""The name of the argument that marks padding; False for none; None if not specified."""


@dataclass(frozen=True)
class MixerArguments:
    """The arguments of a place that a mixer reads in addition to its input; "" for none."""

    signature: Signature = Signature()  # noqa: RUF009 - it is frozen
    """The signature of the wrapped module."""
    causal: bool = False
    """Whether every call is causal."""
    causal_flag: str = ""
    """The argument that says whether a call is causal."""
    padding: str = ""
    """The argument that marks padding."""
    padding_of_model: bool = False
    """Whether `padding` is an argument of the model, not of the place."""
    sizes: tuple[str, ...] = ()
    """The arguments with the height and width of a map whose pixels come as a sequence."""
    ignored: frozenset[str] = frozenset()
    """Arguments that the options of the caller make redundant."""
    allows_masks: bool = True
    """Whether an inserted mixer accepts calls with masks that it does not read."""

    @property
    def read(self) -> set[str]:
        """The arguments of the place that are read."""
        return {self.causal_flag, "" if self.padding_of_model else self.padding, *self.sizes}


@dataclass(frozen=True)
class Place:
    """A module of the model, with the record of one forward pass and the caller's options."""

    model: nn.Module
    name: str
    shape: ActivationShape
    run: ExamplePass
    placement: Placement
    causal: bool | None
    key_padding_mask: PaddingArgument
    ignore: tuple[str, ...] = ()
    """Arguments of the place that the caller tells the mixer to ignore."""

    @property
    def positions(self) -> tuple[int, int]:
        """The batch size and the number of positions in the example."""
        call = self.run.calls[self.name][0]
        shape = call.before if self.placement == "before" else call.after
        sizes = [int(shape[axis]) for axis in PERMUTATIONS[len(shape), self.shape.layout]]
        return sizes[0], math.prod(sizes[1:-1] if len(sizes) == 3 else sizes[2:])

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """The arguments of each call of the place, except the first."""
        for call in self.run.calls[self.name]:
            yield from list(call.arguments.items())[1:]

    def arguments_of(self, name: str) -> Iterator[tuple[str, Any]]:
        """All arguments of each call of the place or a module around it."""
        for call in self.run.calls[name]:
            yield from call.arguments.items()


def arguments_for_insertion(place: Place) -> MixerArguments:
    """The arguments that a mixer before or after a module reads."""
    arguments = _specified_arguments(place)
    _check_specified(place, list(_masks(place)))
    specified = place.causal is not None or place.key_padding_mask is not None
    return replace(arguments, allows_masks=specified or place.shape.ndim == 2)


def arguments_for_replacement(place: Place) -> MixerArguments:
    """The arguments that a mixer instead of a module reads.

    These are a padding mask, a causal flag, and the sizes of a map whose pixels are a sequence.
    """
    arguments, sizes, ignored = _specified_arguments(place), _sizes(place), []
    _check_ignored(place, arguments.signature)
    for name, value in place.arguments():
        if arguments.signature.is_unset(name, value) or name in arguments.read:
            continue
        is_flag = "causal" in name and value is True
        reads_padding = place.key_padding_mask is None and is_padding_name(name)
        if is_flag and place.causal is None and not arguments.causal_flag:
            arguments = replace(arguments, causal_flag=name)
        elif reads_padding and not arguments.padding and isinstance(value, Tensor):
            check_padding_mask(name, value, place.positions)
            arguments = replace(arguments, padding=name)
        elif (is_flag and place.causal is not None) or _is_redundant(name, value, place):
            ignored.append(name)
        elif name in sizes:
            arguments = replace(arguments, sizes=sizes)
        else:
            call = f'{place.name} is called with "{name}", which the mixer cannot use'
            remedy = "set causal=, key_padding_mask= or ignore=, or insert the mixer instead"
            raise InputError(f"{call}; {remedy}", place.name)
    if arguments.sizes and (arguments.causal or arguments.causal_flag):
        raise _causal_map(place)
    if not arguments.causal_flag:
        _check_specified(place, [])
    return replace(arguments, ignored=frozenset(ignored))


def _specified_arguments(place: Place) -> MixerArguments:
    """The arguments that the options of the caller name."""
    if place.causal and place.shape.ndim == 2:
        raise _causal_map(place)
    signature = signature_of(place.model.get_submodule(place.name))
    arguments = MixerArguments(signature, causal=bool(place.causal))
    name = place.key_padding_mask
    if not name:
        return arguments
    of_model = signature_of(place.model).names
    if name not in signature.names | of_model:
        known = ", ".join(sorted(signature.names | of_model))
        message = f"key_padding_mask={shorten(name)} is no argument; use one of {known}"
        raise InputError(message, "key_padding_mask")
    mask = dict(place.arguments()).get(name)
    at_place = name not in of_model or (
        isinstance(mask, Tensor) and tuple(mask.flatten(1).shape) == place.positions
    )
    if not at_place:
        mask = dict(place.arguments_of("")).get(name)
    if isinstance(mask, Tensor):
        check_padding_mask(name, mask, place.positions)
    return replace(arguments, padding=name, padding_of_model=not at_place)


def _check_ignored(place: Place, signature: Signature) -> None:
    known = signature.names.union(name for name, _ in place.arguments())
    for name in place.ignore:
        if name not in known:
            shown = ", ".join(sorted(known))
            message = f"ignore={shorten(name)} is no argument of {place.name}; use one of {shown}"
            raise InputError(message, "ignore")


def _causal_map(place: Place) -> InputError:
    message = f"{place.name} has maps, whose positions have no order; leave out causal=True"
    return InputError(message, "causal")


def _masks(place: Place) -> Iterator[tuple[str, Tensor]]:
    """The masks of a place, and those of the modules around it that have its positions."""
    _, count = place.positions
    yield from ((name, value) for name, value in place.arguments() if _is_mask_tensor(name, value))
    for module in ancestors(place.name):
        for name, value in place.arguments_of(module):
            if _is_mask_tensor(name, value) and value.shape[-1:] == (count,):
                yield name, value


def _is_mask_tensor(name: str, value: object) -> bool:
    return isinstance(value, Tensor) and is_mask(name, value)


def _check_specified(place: Place, masks: list[tuple[str, Tensor]]) -> None:
    """Check that the options of the caller account for a causal model and for its masks."""
    if place.causal is None and place.shape.ndim == 1 and (evidence := _causal_evidence(place)):
        remedy = "pass causal=True to attend to the past only, causal=False to attend to all"
        raise InputError(f"{place.name} is in a causal model ({evidence}); {remedy}", "causal")
    if place.key_padding_mask is not None:
        return
    unmasked = "key_padding_mask=False to attend to masked positions"
    for name, mask in masks:
        if is_padding_mask(name, mask, place.positions):
            remedy = f'pass key_padding_mask="{name}", or {unmasked}'
            message = f"{name} masks positions at {place.name}; {remedy}"
            raise InputError(message, "key_padding_mask")
    if masks and place.causal is None:
        remedy = f'pass causal=True, key_padding_mask="...", or {unmasked}'
        message = f"{masks[0][0]} masks pairs of positions at {place.name}; {remedy}"
        raise InputError(message, "causal, key_padding_mask")


def _causal_evidence(place: Place) -> str | None:
    """The flag of a call, or the class of the nearest module, that makes the model causal."""
    modules = (place.name, *ancestors(place.name))
    arguments = (argument for module in modules for argument in place.arguments_of(module))
    flags = [name for name, value in arguments if "causal" in name and value is True]
    if flags:
        return flags[0]
    for module in modules:
        parts = place.model.get_submodule(module).modules()
        flagged = [part for part in parts if isinstance(part.__dict__.get("is_causal"), bool)]
        if flagged:
            return next((type(part).__name__ for part in flagged if part.is_causal), None)
    return None


def _is_redundant(name: str, value: Any, place: Place) -> bool:
    """Whether an option of the caller already decides about an argument."""
    if name in place.ignore:
        return True
    if not _is_mask_tensor(name, value):
        return False
    _, count = place.positions
    if value.ndim == 4 and value.shape[-1] == count and place.key_padding_mask is not None:
        return value.is_meta or hides_keys(value, causal=bool(place.causal))
    if place.causal and value.shape[-2:] == (count, count):
        return value.is_meta or is_causal_mask(value)
    return place.key_padding_mask is not None and is_padding_mask(name, value, place.positions)


def _sizes(place: Place) -> tuple[str, ...]:
    """The arguments with the height and width of a map whose pixels are this sequence."""
    if place.shape.ndim != 1 or place.shape.layout != "channels_last":
        return ()
    _, count = place.positions
    values = dict(place.arguments())
    candidates: list[tuple[str, ...]] = [
        (name,)
        for name, value in values.items()
        if isinstance(value, tuple | list) and [type(size) for size in value] == [int, int]
    ]
    numbers = tuple(name for name, value in values.items() if type(value) is int)
    if len(numbers) == 2:
        candidates.append(numbers)
    for names in candidates:
        if math.prod(height_and_width(tuple(values[name] for name in names))) == count:
            return names
    return ()


def height_and_width(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """(H, W) from two numbers, or from one argument with both."""
    return tuple(sizes[0]) if len(sizes) == 1 else sizes
