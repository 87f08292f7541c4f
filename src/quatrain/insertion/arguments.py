"""Choose the arguments of a call that a mixer reads, and refuse those that it cannot honour.

A mixer in a model that masks positions must mask them too, or the future changes the past and
padding changes real tokens. So every mask and causal flag must be read, or ruled out by the caller.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal

from torch import Tensor, nn

from quatrain.insertion.example_pass import (
    ExamplePass,
    Shape,
    Signature,
    ancestors,
    signature_of,
)
from quatrain.insertion.masks import (
    check_padding_mask,
    is_causal_mask,
    is_mask,
    is_padding_mask,
    is_padding_name,
    refuse_mask,
)
from quatrain.insertion.shapes import ActivationShape, Placement, permutation
from quatrain.specs import InputError

PaddingArgument = str | Literal[False] | None
"""The name of the argument that marks padding; False for none; None if not specified."""


@dataclass(frozen=True)
class MixerArguments:
    """The arguments of a place that a mixer reads besides its input."""

    signature: Signature = Signature()  # noqa: RUF009 - it is frozen
    """The signature of the wrapped module."""
    causal: bool = False
    """Whether every call is causal."""
    causal_flag: str | None = None
    """The argument that says whether a call is causal."""
    padding: str | None = None
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
    def read(self) -> tuple[str, ...]:
        """The arguments of the place that are read."""
        flag = () if self.causal_flag is None else (self.causal_flag,)
        padding = () if self.padding is None or self.padding_of_model else (self.padding,)
        return (*flag, *padding, *self.sizes)


@dataclass(frozen=True)
class MaskOptions:
    """The options of the caller about masks; None where unspecified."""

    causal: bool | None = None
    key_padding_mask: PaddingArgument = None


@dataclass(frozen=True)
class Place:
    """A module of the model, with the record of one forward pass."""

    model: nn.Module
    name: str
    shape: ActivationShape
    run: ExamplePass
    placement: Placement = "before"

    @property
    def positions(self) -> tuple[int, int]:
        """The batch size and the number of positions in the example."""
        call = self.run.calls[self.name][0]
        shape: Shape = call.before if self.placement == "before" else call.after
        sizes = [int(shape[axis]) for axis in permutation(len(shape), self.shape.layout)]
        return sizes[0], math.prod(sizes[1:-1] if len(sizes) == 3 else sizes[2:])

    def arguments(self) -> Iterator[tuple[str, Any]]:
        """The arguments of each call of the place, except the first."""
        for call in self.run.calls[self.name]:
            yield from list(call.arguments.items())[1:]

    def arguments_of(self, name: str) -> Iterator[tuple[str, Any]]:
        """All arguments of each call of the place or a module around it."""
        for call in self.run.calls[name]:
            yield from call.arguments.items()


def arguments_for_insertion(place: Place, options: MaskOptions) -> MixerArguments:
    """The arguments that a mixer beside a module reads.

    Raises:
        InputError: if the model masks positions there and no option says how to treat them, or
            `key_padding_mask` is not the name of a padding mask.
    """
    arguments = _specified_arguments(place, options)
    _refuse_unspecified(place, options, list(_masks(place)))
    specified = options.causal is not None or options.key_padding_mask is not None
    return replace(arguments, allows_masks=specified or place.shape.ndim == 2)


def arguments_for_replacement(place: Place, options: MaskOptions) -> MixerArguments:
    """The arguments that a mixer instead of a module reads.

    These are a padding mask, a causal flag, and the sizes of a map whose pixels are a sequence.

    Raises:
        InputError: if the module is called with any other argument, or as for an insertion.
    """
    arguments = _specified_arguments(place, options)
    ignored = []
    for name, value in place.arguments():
        if arguments.signature.is_unset(name, value) or name in arguments.read:
            continue
        is_flag = "causal" in name and value is True
        if is_flag and options.causal is None:
            _refuse_second(place, arguments.causal_flag, name, "pass causal=True")
            arguments = replace(arguments, causal_flag=name)
        elif (
            is_padding_name(name) and isinstance(value, Tensor) and options.key_padding_mask is None
        ):
            remedy = f'pass key_padding_mask="{name}", or the other'
            _refuse_second(place, arguments.padding, name, remedy)
            check_padding_mask(name, value, place.positions)
            arguments = replace(arguments, padding=name)
        elif is_flag or _is_redundant(name, value, options, place):
            ignored.append(name)
        elif not arguments.sizes and (sizes := _sizes(place)) and name in sizes:
            arguments = replace(arguments, sizes=sizes)
        else:
            expected = "arguments that the mixer can use"
            remedy = "replace a module that needs no other, or insert the mixer beside this one"
            raise InputError(place.name, f'called with "{name}"', expected, remedy)
    if arguments.sizes and (arguments.causal or arguments.causal_flag):
        raise _causal_map(place)
    if arguments.causal_flag is None:
        _refuse_unspecified(place, options, [])
    return replace(arguments, ignored=frozenset(ignored))


def _specified_arguments(place: Place, options: MaskOptions) -> MixerArguments:
    """The arguments that the options of the caller name."""
    if options.causal and place.shape.ndim == 2:
        raise _causal_map(place)
    signature = signature_of(place.model.get_submodule(place.name))
    arguments = MixerArguments(signature, causal=bool(options.causal))
    name = options.key_padding_mask
    if not name:
        return arguments
    of_model = signature_of(place.model).names
    if name not in signature.names | of_model:
        known = ", ".join(sorted(signature.names | of_model))
        expected = f"an argument of {place.name} or of the model"
        raise InputError("key_padding_mask", name, expected, f"choose one of {known}")
    mask = dict(place.arguments()).get(name)
    at_place = name not in of_model or (
        isinstance(mask, Tensor) and tuple(mask.flatten(1).shape) == place.positions
    )
    if not at_place:
        mask = dict(place.arguments_of("")).get(name)
    if isinstance(mask, Tensor):
        check_padding_mask(name, mask, place.positions)
    return replace(arguments, padding=name, padding_of_model=not at_place)


def _causal_map(place: Place) -> InputError:
    remedy = f"a map has no order of positions; {place.name} is one"
    return InputError("causal", True, "False on a map", remedy)


def _masks(place: Place) -> Iterator[tuple[str, Any]]:
    """The masks of a place, and those of the modules around it that have its positions."""
    for name, value in place.arguments():
        if isinstance(value, Tensor) and is_mask(name, value):
            yield name, value
    _, count = place.positions
    for module in ancestors(place.name):
        for name, value in place.arguments_of(module):
            mask = isinstance(value, Tensor) and is_mask(name, value)
            if mask and value.shape[-1:] == (count,):
                yield name, value


def _refuse_unspecified(place: Place, options: MaskOptions, masks: list[tuple[str, Any]]) -> None:
    """Refuse a causal model and masks about which no option says anything."""
    sequence = place.shape.ndim == 1
    if options.causal is None and sequence and (evidence := _causal_evidence(place)):
        expected = f"True or False, since {place.name} is in a causal model ({evidence})"
        remedy = "pass causal=True to attend to the past only, causal=False to attend to all"
        raise InputError("causal", None, expected, remedy)
    if options.key_padding_mask is not None:
        return
    padding = [name for name, mask in masks if is_padding_mask(name, mask, place.positions)]
    others = [name for name, _ in masks if options.causal is None]
    for name in (*padding, *others):
        refuse_mask(place.name, name, padding=name in padding)


def _causal_evidence(place: Place) -> str | None:
    """The flag of a call, or the class of the nearest module, that makes the model causal."""
    modules = (place.name, *ancestors(place.name))
    for module in modules:
        for name, value in place.arguments_of(module):
            if "causal" in name and value is True:
                return name
    for module in modules:
        parts = place.model.get_submodule(module).modules()
        flagged = [part for part in parts if isinstance(part.__dict__.get("is_causal"), bool)]
        if flagged:
            return next((type(part).__name__ for part in flagged if part.is_causal), None)
    return None


def _refuse_second(place: Place, first: str | None, second: str, remedy: str) -> None:
    if first is not None:
        expected = f"one argument of its kind; {first} is one too"
        raise InputError(place.name, f'called with "{second}"', expected, remedy)


def _is_redundant(name: str, value: object, options: MaskOptions, place: Place) -> bool:
    """Whether a mask repeats `causal=True`, or is a padding mask that an option decides about."""
    if not isinstance(value, Tensor) or not is_mask(name, value):
        return False
    _, count = place.positions
    if options.causal and value.shape[-2:] == (count, count):
        return value.is_meta or is_causal_mask(value)
    return options.key_padding_mask is not None and is_padding_mask(name, value, place.positions)


def _sizes(place: Place) -> tuple[str, ...]:
    """The arguments with the height and width of a map whose pixels are this sequence."""
    if place.shape.ndim != 1 or place.shape.layout != "channels_last":
        return ()
    _, count = place.positions
    values = dict(place.arguments())
    candidates: list[tuple[str, ...]] = [
        (name,) for name, value in values.items() if _is_pair(value)
    ]
    numbers = tuple(name for name, value in values.items() if type(value) is int)
    if len(numbers) == 2:
        candidates.append(numbers)
    for names in candidates:
        if math.prod(height_and_width(tuple(values[name] for name in names))) == count:
            return names
    return ()


def _is_pair(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(type(size) is int for size in value)


def height_and_width(sizes: tuple[Any, ...]) -> tuple[int, ...]:
    """(H, W) from two numbers, or from one argument with both."""
    return tuple(sizes[0]) if len(sizes) == 1 else sizes
