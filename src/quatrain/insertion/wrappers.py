"""Modules that wrap a place of a model: `InsertionWrapper` and `ReplacementWrapper`.

A wrapper is copied, saved, traced and compiled like any module. Settings and weights of the wrapped
module are read and set through it; only its class is that of the wrapper.
"""

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.insertion.arguments import MixerArguments, height_and_width
from quatrain.insertion.loading import load_unwrapped_weights
from quatrain.insertion.masks import is_mask, to_padding_mask
from quatrain.insertion.shapes import PERMUTATIONS, ActivationShape, Layout, Placement
from quatrain.nn.convolution import RegularConv
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.specs import InputError

_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_CONTAINER_METHODS = {
    method
    for kind in _CONTAINERS
    for name, method in vars(kind).items()
    if inspect.isfunction(method) and name != "forward"
}
"""Methods that read or change the parts of a container, and call none of them."""
for _name in ("_permute_input", "_permute_output", "to_padding_mask", "_check_arguments"):
    torch.fx.wrap(_name)  # a single call in a traced graph, since it depends on the values


class Wrapper(nn.Module):
    """A block at a place of a model, and the module that it wraps."""

    original: Any  # a module, which may be a container
    block: nn.Module
    activation_shape: ActivationShape
    training: bool
    arguments: MixerArguments
    outputs: int = 0
    """The length of a tuple that the place returns, and the block reads or gives the first of."""
    _convolution: RegularConv | DeformableConv | None = None
    """The convolution that shares its weight and bias with the wrapped module."""

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        shape: ActivationShape,
        arguments: MixerArguments | None,
    ) -> None:
        super().__init__()
        self._model_mask: tuple[Tensor | None] | None = None
        self.arguments = arguments or MixerArguments()
        self.activation_shape, self.training, self.block = shape, original.training, block
        self.register_load_state_dict_pre_hook(load_unwrapped_weights)

    @property
    def wrapped(self) -> nn.Module:
        """The module that was at the place before."""
        return self.original

    @property
    def shared_names(self) -> dict[str, str]:
        """Parameters of the wrapped module that the block uses too, and their names here."""
        parts = self.named_modules()
        path = next((name for name, part in parts if part is self._convolution), None)
        return {} if path is None else {name: f"{path}.{name}" for name in ("weight", "bias")}

    def unwrap(self) -> nn.Module:
        """The wrapped module, to be put back into the model."""
        return self.original

    def extra_repr(self) -> str:
        """The axes and channels at the place, such as "(N, 256, H, W)"."""
        return str(self.activation_shape)

    def set_model_mask(self, mask: tuple[Tensor | None] | None) -> None:
        """Set the padding mask of the running call of the model; None after the call."""
        object.__setattr__(self, "_model_mask", mask)

    def __getattr__(self, name: str) -> Any:
        """An attribute of the wrapped module, except for methods, which would skip the block."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            owner = None if name.startswith("__") else self._owner(name)
            if owner is None or not hasattr(owner, name):
                raise
            value = getattr(owner, name)
            is_part, is_method = isinstance(value, Tensor | nn.Module), inspect.ismethod(value)
            outside = is_part and owner not in self.modules()
            if outside or (is_method and value.__func__ not in _CONTAINER_METHODS):
                raise
            if not is_method:
                return value

            def call(*args: Any, **kwargs: Any) -> Any:
                result = value(*args, **kwargs)
                return self if result is owner else result

            return call

    def __setattr__(self, name: str, value: Any) -> None:
        owner = self._owner_to_set(name)
        if owner is None:
            super().__setattr__(name, value)
        else:
            setattr(owner, name, value)

    def __delattr__(self, name: str) -> None:
        owner = self._owner_to_set(name)
        if owner is None:
            super().__delattr__(name)
        else:
            delattr(owner, name)

    def __dir__(self) -> list[str]:
        names = {name for name in dir(self.wrapped) if not name.startswith("__")}
        return sorted({*super().__dir__(), *(name for name in names if hasattr(self, name))})

    @abstractmethod
    def _owner(self, name: str) -> nn.Module | None:
        """The module on which an attribute is read and set that the wrapper itself lacks."""

    def _owner_to_set(self, name: str) -> nn.Module | None:
        """The module on which an attribute is set, None for the wrapper; warn without effect."""
        parts = (self._modules, self._parameters, self._buffers)
        if name in vars(self) or hasattr(type(self), name) or any(name in part for part in parts):
            return None
        owner = self._owner(name)
        if owner is not None and owner not in self.modules():
            warnings.warn(
                f"{name} of a replaced {type(owner).__name__} is set, which the mixer in its place "
                "does not read; it takes effect when the mixer is removed",
                stacklevel=3,
            )
        return owner

    def _apply_block(self, x: Tensor, arguments: dict[str, Any]) -> Tensor:
        """The output of the block for `x` in a call of the place with these arguments."""
        reads = self.arguments
        rejected = {
            name: value
            for name, value in list(arguments.items())[1:]
            if self._rejects(name, value) and not reads.signature.is_unset(name, value)
        }
        x = _check_arguments(x, rejected) if rejected else x
        causal, padding = reads.causal or bool(arguments.get(reads.causal_flag)), None
        if reads.padding:
            of_model = reads.padding_of_model
            mask = self._mask_of_model() if of_model else arguments.get(reads.padding)
            padding = to_padding_mask(reads.padding, mask)
        sizes = height_and_width(tuple(arguments[name] for name in reads.sizes))
        layout = self.activation_shape.layout
        y = self.block(_permute_input(x, layout, sizes), causal=causal, key_padding_mask=padding)
        return _permute_output(y, layout, sizes)

    @abstractmethod
    def _rejects(self, name: str, value: object) -> bool:
        """Whether the place must not be called with this argument."""

    def _mask_of_model(self) -> Tensor | None:
        if self._model_mask is None:
            name = self.arguments.padding
            remedy = "call the model, not its parts, and do not recompute them in the backward pass"
            raise InputError(f"the model, which has {name}, is not running; {remedy}", name)
        return self._model_mask[0]


class InsertionWrapper(Wrapper):
    """A module of the model, and a block before or after it.

    Weights that were saved without the wrapper load into the module, and the block keeps its own.
    """

    placement: Placement = "after"

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        placement: Placement,
        shape: ActivationShape,
        arguments: MixerArguments | None = None,
    ) -> None:
        super().__init__(original, block, shape, arguments)
        self.placement = placement
        self.original = original

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Call the module, and the block before or after it.

        Raises:
            InputError: if there is a mask that was not in the example of the insertion.
        """
        arguments = self.arguments.signature.bind(args, kwargs)
        if self.placement == "after":
            output = self.original(*args, **kwargs)
            if not self.outputs:
                return self._apply_block(output, arguments)
            others = (output[index] for index in range(1, self.outputs))
            return self._apply_block(output[0], arguments), *others
        name, x = next(iter(arguments.items()))
        y = self._apply_block(x, arguments)
        if args:
            return self.original(y, *args[1:], **kwargs)
        return self.original(**kwargs | {name: y})

    def _owner(self, name: str) -> nn.Module | None:
        original = vars(self).get("_modules", {}).get("original")
        return None if name.startswith("_") and not hasattr(original, name) else original

    def _rejects(self, name: str, value: object) -> bool:
        return is_mask(name, value) and not self.arguments.allows_masks


class ContainerInsertionWrapper(InsertionWrapper):
    """A container of the model, whose parts can be indexed and iterated, and a block."""

    def __len__(self) -> int:
        return len(self.original)

    def __iter__(self) -> Iterator[Any]:
        return iter(self.original)

    def __contains__(self, part: object) -> bool:
        return part in self.original

    def __getitem__(self, index: Any) -> Any:
        return self.original[index]

    def __setitem__(self, index: Any, part: nn.Module) -> None:
        self.original[index] = part

    def __delitem__(self, index: Any) -> None:
        del self.original[index]


class ReplacementWrapper(Wrapper):
    """A mixer instead of a module, which is kept outside the model.

    A convolution shares its weight and bias with the one it replaces. Weights that were saved
    before the replacement load into the shared parameters, and else into the replaced module.
    """

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        shape: ActivationShape,
        convolution: RegularConv | DeformableConv | None = None,
        arguments: MixerArguments | None = None,
    ) -> None:
        super().__init__(original, block, shape, arguments)
        vars(self).update(original=original, _convolution=convolution)  # not as parts of the model

    def unwrap(self) -> nn.Module:
        """The replaced module, with shared weights and in the mode of the wrapper."""
        original, convolution = self.original, self._convolution
        if convolution is not None:
            original.register_parameter("weight", convolution.weight)
            original.register_parameter("bias", convolution.bias)
        return original if original.training == self.training else original.train(self.training)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The output of the mixer for the first argument; in a tuple with None if a tuple was.

        Raises:
            InputError: if there is another argument that the mixer does not read.
        """
        arguments = self.arguments.signature.bind(args, kwargs)
        y = self._apply_block(next(iter(arguments.values())), arguments)
        return (y, *[None] * (self.outputs - 1)) if self.outputs else y

    def _owner(self, name: str) -> nn.Module | None:
        """The mixer for its weights and parts, or else the replaced module for its settings."""
        block = vars(self).get("_modules", {}).get("block")
        owners = (self._convolution, block, vars(self).get("original"))
        return next((owner for owner in owners if hasattr(owner, name)), None)

    def _rejects(self, name: str, value: object) -> bool:
        del value
        return name not in self.arguments.read | self.arguments.ignored

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ReplacementWrapper":
        """Move or convert the replaced module, too."""
        super()._apply(fn, recurse)
        self.original._apply(fn)
        return self


def _check_arguments(x: Tensor, rejected: dict[str, Any]) -> Tensor:
    """Return `x`, unless there is an argument that the mixer does not read."""
    for name, value in rejected.items():
        if value is not None and value is not False:
            remedy = "leave it out, or insert with an example of such a call"
            kind = type(value).__name__
            raise InputError(f"the mixer does not read {name}, a {kind}; {remedy}", name)
    return x


def _permute_input(x: Tensor, layout: Layout, sizes: tuple[int, ...]) -> Tensor:
    if x.is_nested:
        remedy = "build nn.TransformerEncoder with enable_nested_tensor=False"
        raise InputError(f"the input is a nested tensor; {remedy}", "input")
    x = x.unflatten(1, sizes) if sizes else x
    return x.permute(PERMUTATIONS[x.ndim, layout]) if x.ndim in (3, 4) else x


def _permute_output(y: Tensor, layout: Layout, sizes: tuple[int, ...]) -> Tensor:
    if y.ndim in (3, 4):
        order = PERMUTATIONS[y.ndim, layout]
        y = y.permute(sorted(range(y.ndim), key=order.__getitem__))
    return y.flatten(1, 2) if sizes else y
