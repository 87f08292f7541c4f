"""What stands at a place of a model after surgery, and gives the place back.

Each is a module like any other: it is copied, saved and compiled as the rest of the model is. Who
reads settings or weights of the place finds them; who asks for its class does not.
"""

import inspect
from typing import Any

from torch import Tensor, nn

from quatrain.insertion.layouts import Layout, to_ours
from quatrain.insertion.widths import Side
from quatrain.nn.deformable_conv import DeformableConv
from quatrain.nn.regular_conv import RegularConv
from quatrain.specs import InputError

Convolution = RegularConv | DeformableConv
_MISSING = object()


class _Standing(nn.Module):
    """A block that reads and gives what passes in the layout of the place."""

    holds: str
    """The part that weights saved before the surgery belong to."""
    layout: Layout

    def __init__(self, block: nn.Module, layout: Layout, *, training: bool) -> None:
        super().__init__()
        self.block, self.layout, self.training = block, layout, training
        self.register_load_state_dict_pre_hook(_adopt)

    def __getattr__(self, name: str) -> Any:
        """What the place has, but for methods, which would pass the block by."""
        try:
            return super().__getattr__(name)
        except AttributeError:
            value = _MISSING if name.startswith("__") else self._of_the_place(name)
            if value is _MISSING or inspect.ismethod(value):
                raise
            return value

    def _of_the_place(self, name: str) -> Any:
        return getattr(self.__dict__.get("_modules", {}).get(self.holds), name, _MISSING)

    def be_called(self) -> None:
        """Keep a layer of torch's from computing with the weights of this part uncalled.

        In evaluation its encoder layers run as one operator, unless a part has a hook.
        """
        self.register_forward_pre_hook(_nothing)

    def _mixed(self, x: Tensor) -> Tensor:
        if x.is_nested:
            remedy = "build nn.TransformerEncoder with enable_nested_tensor=False"
            raise InputError("input", "a nested tensor", "a tensor of one length", remedy)
        ours = to_ours(x.ndim, self.layout) if x.ndim in (3, 4) else tuple(range(x.ndim))
        back = sorted(range(x.ndim), key=ours.__getitem__)
        return self.block(x.permute(ours)).permute(back)


def _nothing(module: nn.Module, inputs: object) -> None:
    del module, inputs


def _adopt(module: _Standing, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename weights that were saved before the surgery, and fill in those of the block."""
    own = module.state_dict(prefix=prefix)
    block = [key for key in own if key.startswith(f"{prefix}block.")]
    plain = [key for key in state if key.startswith(prefix) and key not in own]
    fill = plain and not any(key in state for key in block)
    for key in plain:
        state[f"{prefix}{module.holds}.{key.removeprefix(prefix)}"] = state.pop(key)
    if fill:
        state |= {key: own[key] for key in block if key not in state}


class Inserted(_Standing):
    """A module of the model, and a block before or after it.

    Weights of the model from before, without the block, load into it: the block keeps its own.
    """

    holds = "original"

    def __init__(self, original: nn.Module, block: nn.Module, side: Side, layout: Layout) -> None:
        super().__init__(block, layout, training=original.training)
        self.original, self.side = original, side

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call both in turn."""
        if self.side == "after":
            return self._mixed(self.original(*inputs, **named))
        return self.original(self._mixed(inputs[0]), *inputs[1:], **named)

    def restored(self) -> nn.Module:
        """The module of the model."""
        return self.original


class Replaced(_Standing):
    """A mixer in the place of a module, which is kept aside: its weights are not the model's.

    A convolution shares its weight and bias with the one it replaces, so that either goes on with
    what the other has learnt; weights of the model from before load into it.
    """

    holds = "block"

    def __init__(
        self,
        original: nn.Module,
        block: nn.Module,
        layout: Layout,
        convolution: Convolution | None = None,
    ) -> None:
        super().__init__(block, layout, training=original.training)
        self._aside = (original, convolution)

    def _of_the_place(self, name: str) -> Any:
        """The weights and parts of the mixer, and the settings of what stood here."""
        value = super()._of_the_place(name)
        if value is _MISSING and "_aside" in self.__dict__:
            value = getattr(self._aside[0], name, _MISSING)
            return _MISSING if isinstance(value, Tensor | nn.Module) else value
        return value

    def forward(self, x: Tensor) -> Tensor:
        """What the mixer makes of it."""
        return self._mixed(x)

    def restored(self) -> nn.Module:
        """The module that stood here: with the weights now shared, on this device, in this mode."""
        original, convolution = self._aside
        if convolution is not None:
            original.register_parameter("weight", convolution.weight)
            original.register_parameter("bias", convolution.bias)
        like = next(self.block.parameters(), None)
        held = next(original.parameters(), None)
        if like is not None and held is not None and like.device != held.device:
            original.to(like.device)
        return original if original.training == self.training else original.train(self.training)


Standing = Inserted | Replaced
