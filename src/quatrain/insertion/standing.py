"""What stands at a place of a model after surgery, and gives the place back."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from quatrain.insertion.arguments import Reads
from quatrain.insertion.layouts import Layout
from quatrain.insertion.masks import is_mask
from quatrain.insertion.widths import Side
from quatrain.insertion.wrapper import MISSING, Wrapper
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.regular_conv import RegularConv


class Inserted(Wrapper):
    """A module of the model, and a block before or after it.

    Weights of the model from before, without the block, load into it: the block keeps its own.
    """

    side: Side = "after"

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        side: Side,
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


class InsertedContainer(Inserted):
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
    original: nn.Module, block: nn.Module, side: Side, layout: Layout, reads: Reads
) -> Inserted:
    """The wrapper of a module, which can be indexed and iterated if the module can."""
    kind = type(original)
    parts = all(hasattr(kind, each) for each in ("__len__", "__iter__", "__getitem__"))
    return (InsertedContainer if parts else Inserted)(original, block, side, layout, reads)


class Replaced(Wrapper):
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

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> "Replaced":
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


Standing = Inserted | Replaced
