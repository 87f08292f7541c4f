"""Which arguments of a call a mixer reads, and when one that changes the result is refused.

A mixer put into a model that masks some positions has to mask them too, or the future changes the
past and padding changes real tokens. An argument that nobody has accounted for is an error.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Literal, NoReturn

from torch import Tensor, nn

from quatrain.insertion.arguments import Reads, height_and_width, parameters_of
from quatrain.insertion.example_pass import ExamplePass, Shape, holders
from quatrain.insertion.layouts import to_ours
from quatrain.insertion.masks import (
    check_padding,
    is_causal,
    is_mask,
    marks_padding,
    names_padding,
    refuse_mask,
)
from quatrain.insertion.shapes import ActivationShape, Placement
from quatrain.specs import InputError

PaddingArgument = str | Literal[False] | None
"""The name of an argument that marks padding; False if there is none; None if not given."""


@dataclass(frozen=True)
class Masking:
    """What the caller says about the masks of a model; None where nothing is said."""

    causal: bool | None = None
    key_padding_mask: PaddingArgument = None


@dataclass(frozen=True)
class Place:
    """A place, with what one forward pass shows of it."""

    model: nn.Module
    name: str
    width: ActivationShape
    seen: ExamplePass
    side: Placement = "before"

    @property
    def module(self) -> nn.Module:
        """What is there."""
        return self.model.get_submodule(self.name)

    @property
    def positions(self) -> tuple[int, int]:
        """The size of the batch, and the number of its positions, in the example."""
        call = self.seen.calls[self.name][0]
        shape: Shape = call.before if self.side == "before" else call.after
        ours = to_ours(len(shape), self.width.layout)
        sizes = [int(shape[axis]) for axis in ours]
        return sizes[0], math.prod(sizes[1:-1] if len(sizes) == 3 else sizes[2:])

    def arguments(self, of: str | None = None) -> Iterator[tuple[str, Any]]:
        """The arguments of each call but the first, by name; of the place, or of one around it."""
        name = self.name if of is None else of
        for call in self.seen.calls[name]:
            yield from list(call.arguments.items())[1 if of is None else 0 :]


def reads_beside(place: Place, masking: Masking) -> Reads:
    """What a mixer reads that is added beside a module.

    Raises:
        InputError: if the model masks positions there and the caller does not say what the mixer
            is to do, or names an argument that does not mark padding.
    """
    reads = _reads(place, masking)
    _refuse_unspecified(place, masking, list(_masks(place)))
    explicit = masking.causal is not None or masking.key_padding_mask is not None
    return replace(reads, expects_masks=explicit or place.width.ndim == 2)


def reads_instead(place: Place, masking: Masking) -> Reads:
    """What a mixer reads that takes the place of a module.

    It can use a mask of padding, a flag of causality, and the sizes of a map whose pixels are a
    sequence.

    Raises:
        InputError: if the module is called with anything else, or as for `reads_beside`.
    """
    reads = _reads(place, masking)
    parameters = reads.parameters
    unread = []
    for name, value in place.arguments():
        if parameters.unset(name, value) or name in reads.of_call:
            continue
        padding = value if names_padding(name) and isinstance(value, Tensor) else None
        if "causal" in name and value is True and masking.causal is None:
            _refuse_two(place, reads.causal_flag, name, "pass causal=True")
            reads = replace(reads, causal_flag=name)
        elif padding is not None and masking.key_padding_mask is None:
            remedy = f'pass key_padding_mask="{name}", or the other'
            _refuse_two(place, reads.padding, name, remedy)
            check_padding(name, padding, place.positions)
            reads = replace(reads, padding=name)
        elif ("causal" in name and value is True) or _is_accounted_for(name, value, masking, place):
            unread.append(name)
        elif not reads.sizes and (sizes := _sizes(place)) and name in sizes:
            reads = replace(reads, sizes=sizes)
        else:
            expected = "arguments that the mixer can use"
            remedy = "replace a module that needs no other, or insert the mixer beside this one"
            raise InputError(place.name, f'called with "{name}"', expected, remedy)
    if reads.sizes and (reads.causal or reads.causal_flag):
        _refuse_causal_map(place)
    if reads.causal_flag is None:
        _refuse_unspecified(place, masking, [])
    return replace(reads, unread=frozenset(unread))


def _reads(place: Place, masking: Masking) -> Reads:
    """What the caller says that the mixer reads."""
    if masking.causal and place.width.ndim == 2:
        _refuse_causal_map(place)
    parameters = parameters_of(place.module)
    reads = Reads(parameters, causal=bool(masking.causal))
    if not masking.key_padding_mask:
        return reads
    name = masking.key_padding_mask
    of_model = parameters_of(place.model).names
    if name not in parameters.names | of_model:
        known = ", ".join(sorted(parameters.names | of_model))
        expected = f"an argument of {place.name} or of the model"
        raise InputError("key_padding_mask", name, expected, f"choose of {known}")
    mask = dict(place.arguments()).get(name)
    at_place = name not in of_model or (
        isinstance(mask, Tensor) and tuple(mask.flatten(1).shape) == place.positions
    )
    if not at_place:
        mask = dict(place.arguments("")).get(name)
    if isinstance(mask, Tensor):
        check_padding(name, mask, place.positions)
    return replace(reads, padding=name, of_model=not at_place)


def _refuse_causal_map(place: Place) -> NoReturn:
    remedy = f"order exists on sequences, not at {place.name}"
    raise InputError("causal", True, "False on a map", remedy)


def _masks(place: Place) -> Iterator[tuple[str, Any]]:
    """The masks of a place, and those of its positions around it."""
    _, count = place.positions
    for name, value in place.arguments():
        if isinstance(value, Tensor) and is_mask(name, value):
            yield name, value
    for holder in holders(place.name):
        for name, value in place.arguments(holder):
            masks = isinstance(value, Tensor) and is_mask(name, value)
            if masks and value.shape[-1:] == (count,):
                yield name, value


def _refuse_unspecified(place: Place, masking: Masking, masks: list[tuple[str, Any]]) -> None:
    if masking.causal is None and place.width.ndim == 1 and (why := _causal(place)):
        expected = f"True or False, since {place.name} is in a causal model ({why})"
        remedy = "pass causal=True for a mixer that sees the past alone, causal=False for all"
        raise InputError("causal", None, expected, remedy)
    of_padding = [name for name, mask in masks if marks_padding(name, mask, place.positions)]
    others = [name for name, _ in masks if masking.causal is None]
    for name in (*of_padding, *others):
        if masking.key_padding_mask is None:
            refuse_mask(place.name, name, padding=name in of_padding)


def _causal(place: Place) -> str | None:
    """The flag of a call, or the module near the place, that says that the model is causal."""
    for holder in (place.name, *holders(place.name)):
        for name, value in place.arguments(holder):
            if "causal" in name and value is True:
                return name
    for holder in (place.name, *holders(place.name)):
        parts = list(place.model.get_submodule(holder).modules())
        flagged = [part for part in parts if isinstance(part.__dict__.get("is_causal"), bool)]
        if flagged:
            return next((type(part).__name__ for part in flagged if part.is_causal), None)
    return None


def _refuse_two(place: Place, first: str | None, second: str, remedy: str) -> None:
    if first is not None:
        expected = f"one argument of its kind; {first} is one too"
        raise InputError(place.name, f'called with "{second}"', expected, remedy)


def _is_accounted_for(name: str, value: object, masking: Masking, place: Place) -> bool:
    """Whether a mask says no more than `causal=True`, or the caller passes padding over."""
    if not isinstance(value, Tensor) or not is_mask(name, value):
        return False
    _, count = place.positions
    if masking.causal and value.shape[-2:] == (count, count):
        return value.is_meta or is_causal(value)
    padding = marks_padding(name, value, place.positions)
    return masking.key_padding_mask is not None and padding


def _sizes(place: Place) -> tuple[str, ...]:
    """The arguments that hold the height and width of a map whose pixels are this sequence."""
    if place.width.ndim != 1 or place.width.layout != "channels_last":
        return ()
    _, count = place.positions
    values = dict(place.arguments())
    pairs = [(name,) for name, value in values.items() if _is_pair(value)]
    numbers = [name for name, value in values.items() if type(value) is int]
    for names in (*pairs, *([tuple(numbers)] if len(numbers) == 2 else [])):
        if math.prod(height_and_width(tuple(values[name] for name in names))) == count:
            return names
    return ()


def _is_pair(value: Any) -> bool:
    pair = isinstance(value, tuple | list) and len(value) == 2
    return pair and all(type(size) is int for size in value)
