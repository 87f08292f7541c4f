"""A wrapper of a place: attributes that are found there, and a block that reads its calls.

It is a module like any other: it is copied, saved, traced and compiled as the rest of the model is.
Settings and weights of the place are read and set through the wrapper; its class is the wrapper's.
"""

import inspect
import warnings
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.insertion.arguments import Reads, height_and_width, refuse_unread
from quatrain.insertion.layouts import Layout, to_ours
from quatrain.insertion.loading import load_earlier_weights
from quatrain.insertion.masks import is_mask, padding_from
from quatrain.insertion.shapes import Placement
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.regular_conv import RegularConv
from quatrain.specs import InputError

MISSING = object()
"""What an attribute is that is not there."""
for _name in ("_to_ours", "_from_ours", "padding_from", "refuse_unread"):
    torch.fx.wrap(_name)  # one call in a graph, which decides by the tensors of each run
_CONTAINERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict)
_METHODS_OF_CONTAINERS = {
    method
    for kind in _CONTAINERS
    for name, method in vars(kind).items()
    if inspect.isfunction(method) and name != "forward"
}


class Wrapper(nn.Module):
    """A block that reads and gives what passes in the layout of the place."""

    layout: Layout
    reads: Reads

    def __init__(self, block: nn.Module, layout: Layout, reads: Reads, *, training: bool) -> None:
        super().__init__()
        self.block, self.layout, self.training = block, layout, training
        self.reads = reads
        self._of_model: tuple[Tensor | None] | None = None
        self.register_load_state_dict_pre_hook(load_earlier_weights)

    @property
    @abstractmethod
    def module_before(self) -> nn.Module:
        """The module that stood here before."""

    @abstractmethod
    def restored(self) -> nn.Module:
        """The module that stood here before, in the mode of the wrapper."""

    @property
    def shared_names(self) -> dict[str, str]:
        """Weights of the module from before that are the block's too, and their names here."""
        return {}

    def __getattr__(self, name: str) -> Any:
        """What the place has, but for methods, which would pass the block by."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            value = MISSING if name.startswith("__") else self._of_the_place(name)
            if value is MISSING or (inspect.ismethod(value) and not _of_container(value)):
                raise
            return self._itself_for_place(value) if inspect.ismethod(value) else value

    def __setattr__(self, name: str, value: Any) -> None:
        """Set what the place has there, as reading finds it there."""
        holder = None if self._owns(name) else self._holder(name)
        if holder is None:
            super().__setattr__(name, value)
        else:
            setattr(holder, name, value)

    def __delattr__(self, name: str) -> None:
        holder = None if self._owns(name) else self._holder(name)
        if holder is None:
            super().__delattr__(name)
        else:
            delattr(holder, name)

    def __dir__(self) -> list[str]:
        names = {name for name in dir(self.module_before) if not name.startswith("__")}
        return sorted({*super().__dir__(), *(name for name in names if hasattr(self, name))})

    def _owns(self, name: str) -> bool:
        mine = self.__dict__
        if name in mine or hasattr(type(self), name) or "_of_model" not in mine:
            return True
        return any(name in mine[kind] for kind in ("_modules", "_parameters", "_buffers"))

    @abstractmethod
    def _of_the_place(self, name: str) -> Any:
        """The attribute that is found here under a name which is not the wrapper's own."""

    @abstractmethod
    def _holder(self, name: str) -> nn.Module | None:
        """The module whose attribute is set under that name; None for the wrapper."""

    def _itself_for_place(self, method: Callable[..., Any]) -> Callable[..., Any]:
        """A method of a container, which gives the wrapper where it would give the container."""

        def called(*inputs: Any, **named: Any) -> Any:
            result = method(*inputs, **named)
            return self if result is method.__self__ else result  # pyright: ignore[reportFunctionMemberAccess]

        return called

    def require_calls(self) -> None:
        """Keep a layer of torch's from computing with the weights of this part uncalled.

        In evaluation its encoder layers run as one operator, unless a part has a hook.
        """
        self.register_forward_pre_hook(_nothing)

    def set_model_mask(self, of_model: tuple[Tensor | None] | None) -> None:
        """Note the mask that the model is called with, until None ends its call."""
        object.__setattr__(self, "_of_model", of_model)

    def _mixed(self, x: Tensor, inputs: tuple[Any, ...], named: dict[str, Any]) -> Tensor:
        """What the block makes of `x`, when the place is called with these arguments."""
        reads = self.reads
        arguments = reads.parameters.by_name(inputs, named)
        unread = {
            name: value
            for name, value in list(arguments.items())[1:]
            if self._refused(name, value) and not reads.parameters.unset(name, value)
        }
        x = refuse_unread(x, unread) if unread else x
        flag = reads.causal_flag is not None and bool(arguments.get(reads.causal_flag))
        padding = None
        if reads.padding is not None:
            mask = self._mask_of_model() if reads.of_model else arguments.get(reads.padding)
            padding = padding_from(reads.padding, mask)
        sizes = (
            height_and_width(tuple(arguments[name] for name in reads.sizes))
            if reads.sizes
            else None
        )
        ours = _to_ours(x, self.layout, sizes)
        y = self.block(ours, causal=reads.causal or flag, key_padding_mask=padding)
        return _from_ours(y, self.layout, sizes)

    @abstractmethod
    def _refused(self, name: str, value: object) -> bool:
        """Whether the place must not be called with this argument."""

    def _mask_of_model(self) -> Tensor | None:
        if self._of_model is None:
            argument = str(self.reads.padding)
            expected = "the mask of a call of the model that was changed"
            remedy = "call that model; its parts alone, and their recomputation in the backward "
            raise InputError(argument, None, expected, remedy + "pass, have no mask")
        return self._of_model[0]


def _nothing(module: nn.Module, inputs: object) -> None:
    del module, inputs


def _of_container(method: Any) -> bool:
    """Whether a method reads or changes the parts of a container, and calls none."""
    return method.__func__ in _METHODS_OF_CONTAINERS


def _to_ours(x: Tensor, layout: Layout, sizes: tuple[int, ...] | None) -> Tensor:
    if x.is_nested:
        remedy = "build nn.TransformerEncoder with enable_nested_tensor=False"
        raise InputError("input", "a nested tensor", "a tensor of one length", remedy)
    x = x if sizes is None else x.unflatten(1, sizes)
    return x.permute(to_ours(x.ndim, layout)) if x.ndim in (3, 4) else x


def _from_ours(y: Tensor, layout: Layout, sizes: tuple[int, ...] | None) -> Tensor:
    if y.ndim in (3, 4):
        ours = to_ours(y.ndim, layout)
        y = y.permute(sorted(range(y.ndim), key=ours.__getitem__))
    return y if sizes is None else y.flatten(1, 2)


class InsertionWrapper(Wrapper):
    """A module of the model, and a block before or after it.

    Weights of the model from before, without the block, load into it: the block keeps its own.
    """

    side: Placement = "after"

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        side: Placement,
        layout: Layout,
        reads: Reads = Reads(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(block, layout, reads, training=original.training)
        self.side = side
        self.add_module("original", original)

    @property
    def module_before(self) -> nn.Module:
        """The module of the model."""
        return self.original

    def _of_the_place(self, name: str) -> Any:
        return getattr(self.__dict__.get("_modules", {}).get("original"), name, MISSING)

    def _holder(self, name: str) -> nn.Module | None:
        original = self._modules["original"]
        return None if name.startswith("_") and not hasattr(original, name) else original

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call both in turn.

        Raises:
            InputError: if there is a mask, and was none when the block was inserted.
        """
        if self.side == "after":
            return self._mixed(self.original(*inputs, **named), inputs, named)
        if inputs:
            return self.original(self._mixed(inputs[0], inputs, named), *inputs[1:], **named)
        name, x = next(iter(self.reads.parameters.by_name(inputs, named).items()))
        return self.original(**(named | {name: self._mixed(x, inputs, named)}))

    def _refused(self, name: str, value: object) -> bool:
        return is_mask(name, value) and not self.reads.expects_masks

    def restored(self) -> nn.Module:
        """The module of the model."""
        return self.module_before


class ContainerInsertionWrapper(InsertionWrapper):
    """A container of the model, whose parts are found by index or name, and a block after it."""

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


def inserted(
    original: nn.Module, block: nn.Module, side: Placement, layout: Layout, reads: Reads
) -> InsertionWrapper:
    """The wrapper of a module, which can be indexed and iterated if the module can."""
    kind = type(original)
    parts = all(hasattr(kind, each) for each in ("__len__", "__iter__", "__getitem__"))
    return (ContainerInsertionWrapper if parts else InsertionWrapper)(
        original, block, side, layout, reads
    )


class ReplacementWrapper(Wrapper):
    """A mixer in the place of a module, which is kept aside: its weights are not the model's.

    A convolution shares its weight and bias with the one it replaces, so that either goes on with
    what the other has learnt. Weights of the model from before load into it, and those that it
    has no use for into the module kept aside.
    """

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        layout: Layout,
        convolution: RegularConv | DeformableConv | None = None,
        reads: Reads = Reads(),  # noqa: B008 - it is frozen
    ) -> None:
        super().__init__(block, layout, reads, training=original.training)
        self._aside = (original, convolution)

    @property
    def module_before(self) -> nn.Module:
        """The module that is kept aside."""
        return self._aside[0]

    @property
    def shared_names(self) -> dict[str, str]:
        """The weight and bias of a convolution."""
        convolution = self._aside[1]
        parts = self.named_modules()
        path = next((name for name, part in parts if part is convolution), None)
        return {} if path is None else {name: f"{path}.{name}" for name in ("weight", "bias")}

    def _of_the_place(self, name: str) -> Any:
        """The weights and parts of the mixer, and the settings of what stood here."""
        block = self.__dict__.get("_modules", {}).get("block")
        original, convolution = self.__dict__.get("_aside", (None, None))
        for holder in (convolution, block):
            value = getattr(holder, name, MISSING)
            if value is not MISSING:
                return value
        value = getattr(original, name, MISSING)
        return MISSING if isinstance(value, Tensor | nn.Module) else value

    def _holder(self, name: str) -> nn.Module | None:
        if name.startswith("_"):
            return None
        original, convolution = self._aside
        for holder in (convolution, self.block):
            if holder is not None and hasattr(holder, name):
                return holder
        if not hasattr(original, name):
            return None
        warnings.warn(
            f"{name} of a replaced {type(original).__name__} is changed, which the mixer in its "
            "place does not read: it takes effect when the mixer is removed",
            stacklevel=3,
        )
        return original

    def forward(self, *inputs: Any, **named: Any) -> Tensor:
        """What the mixer makes of the first argument.

        Raises:
            InputError: if another one is given that the mixer does not read.
        """
        x = next(iter(self.reads.parameters.by_name(inputs, named).values()))
        return self._mixed(x, inputs, named)

    def _refused(self, name: str, value: object) -> bool:
        del value
        return name not in self.reads.of_call and name not in self.reads.unread

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "ReplacementWrapper":
        """Move or convert what is kept aside, too."""
        super()._apply(fn, recurse)
        self.module_before._apply(fn)
        return self

    def restored(self) -> nn.Module:
        """The module that stood here: with the weights now shared, in this mode."""
        original, convolution = self._aside
        if convolution is not None:
            original.register_parameter("weight", convolution.weight)
            original.register_parameter("bias", convolution.bias)
        return original if original.training == self.training else original.train(self.training)
