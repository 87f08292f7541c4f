"""Insert mixers into a model, replace convolutions by them, and take it all back.

A place keeps its name: the module that was there becomes `original` of an `Inserted` at the same
name, and weights saved from the model before still load into it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.insertion.places import Example, Side, Width, find, widths
from quatrain.nn.deformable_conv import DeformableConvSpec
from quatrain.nn.mixers import Mixer
from quatrain.nn.regular_conv import RegularConvSpec
from quatrain.nn.residual import GatedResidual
from quatrain.specs import InputError, SpecError


class Inserted(nn.Module):
    """A module of the model, and a block before or after it.

    Weights of the model from before, without the block, load into it: the block keeps its own.
    """

    def __init__(self, original: nn.Module, block: nn.Module, side: Side) -> None:
        super().__init__()
        self.original, self.block, self.side = original, block, side
        self.register_load_state_dict_pre_hook(_adopt)

    def forward(self, *inputs: Any, **named: Any) -> Any:
        """Call both in turn."""
        if self.side == "after":
            return self.block(self.original(*inputs, **named))
        return self.original(self.block(inputs[0]), *inputs[1:], **named)


def _adopt(module: nn.Module, state: dict[str, Tensor], prefix: str, *_: Any) -> None:
    """Rename weights that were saved before the insertion, and fill in those of the block."""
    plain = [
        key
        for key in state
        if key.startswith(prefix) and not key.startswith((f"{prefix}original.", f"{prefix}block."))
    ]
    for key in plain:
        state[f"{prefix}original.{key.removeprefix(prefix)}"] = state.pop(key)
    own = module.state_dict(prefix=prefix)
    if plain and not any(key.startswith(f"{prefix}block.") for key in state):
        state |= {key: own[key] for key in own if key.startswith(f"{prefix}block.")}


@dataclass(frozen=True)
class Change:
    """What was changed in a model: the modules that stand at each name, before and now."""

    model: nn.Module
    before: Mapping[str, nn.Module]
    now: Mapping[str, nn.Module]

    def undo(self) -> None:
        """Put back what stood there: the same objects, under the same names.

        Raises:
            InputError: if something else has been put there since.
        """
        for name, module in self.now.items():
            if self.model.get_submodule(name) is not module:
                expected = "the module that this change put there"
                raise InputError(name, "another module", expected, "undo later changes first")
        for name, module in self.before.items():
            self.model.set_submodule(name, module)


def insert(
    model: nn.Module,
    mixer: Mixer,
    *,
    after: str | None = None,
    before: str | None = None,
    example: Example,
) -> Change:
    """Add a mixer after, or before, every module whose name matches, as x + gamma * mixer(x).

    gamma is zero at first, so that the model still computes what it did, bit for bit. Widths are
    read off one forward pass of `example`; in the paper's residual blocks, "after the second
    convolution, its normalization and ReLU" is `before="layer3.*.conv3"`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).

    Raises:
        InputError: if no module matches, or what passes there is neither a map nor a sequence.
        SpecError: if the mixer does not fit the width found.
    """
    if (after is None) == (before is None):
        raise InputError("after, before", (after, before), "one of them", "name one place")
    side: Side = "after" if after is not None else "before"
    places = find(model, after or before or "")
    seen = widths(model, places, side, example)

    def wrapped(name: str, module: nn.Module) -> nn.Module:
        block = GatedResidual(mixer.build(seen[name].channels, ndim=seen[name].ndim))
        return Inserted(module, _placed(block, module, model), side)

    return _exchange(model, places, wrapped)


def replace(model: nn.Module, mixer: Mixer, *, at: str, example: Example | None = None) -> Change:
    """Put a mixer in the place of every module whose name matches.

    A convolution in the place of a `nn.Conv2d` takes over its kernel, stride, dilation, groups and
    weight, so that with offsets of zero it computes the same. Anything else is of the width that
    comes in there, read off one forward pass of `example`.

    Raises:
        InputError: if no module matches, or an example is needed and missing.
        SpecError: if a convolution cannot be taken over, or the mixer does not fit the width.
    """
    places = find(model, at)
    takes_over = isinstance(mixer, RegularConvSpec | DeformableConvSpec)
    rest = {
        name: module
        for name, module in places.items()
        if not (takes_over and isinstance(module, nn.Conv2d))
    }
    if rest and example is None:
        raise InputError("example", None, "what the model is called with", "give an example")
    seen = widths(model, rest, "before", example) if rest and example is not None else {}

    def replaced(name: str, module: nn.Module) -> nn.Module:
        if name in seen:
            return _placed(_built(mixer, seen[name]), module, model)
        return _placed(_taken_over(name, module, mixer), module, model)

    return _exchange(model, places, replaced)


def remove(model: nn.Module, at: str = "**") -> list[str]:
    """Take out what was inserted where the name matches; the names of those places.

    Raises:
        InputError: if nothing is inserted there.
    """
    found = {n: module for n, module in find(model, at).items() if isinstance(module, Inserted)}
    if not found:
        raise InputError("at", at, "a place with something inserted", "see find(model, at)")
    for name, module in reversed(found.items()):  # inner places before those around them
        model.set_submodule(name, module.original)
    return list(found)


def _exchange(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    make: Callable[[str, nn.Module], nn.Module],
) -> Change:
    """Make all new modules before the first is put in place, so that an error changes nothing."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    for name, module in places.items():
        if len(names[module]) > 1:
            expected = "a module of one name, not tied to another"
            raise InputError(name, f"also {names[module][1]}", expected, "untie or leave it out")
    now = {name: make(name, module) for name, module in places.items()}
    for name, module in now.items():
        model.set_submodule(name, module)
    return Change(model, dict(places), now)


def _built(mixer: Mixer, width: Width) -> nn.Module:
    return mixer.build(width.channels, ndim=width.ndim)


def _taken_over(name: str, module: nn.Module, mixer: Mixer) -> nn.Module:
    if not isinstance(module, nn.Conv2d) or not isinstance(
        mixer, RegularConvSpec | DeformableConvSpec
    ):
        raise InputError(name, type(module).__name__, "a Conv2d", "choose another place")
    (kernel, tall), (stride, down), (dilation, apart) = (
        module.kernel_size, module.stride, module.dilation,
    )  # fmt: skip
    spec = type(mixer).model_validate(
        mixer.model_dump()
        | {"kernel": kernel, "stride": stride, "dilation": dilation, "groups": module.groups}
    )
    square = kernel == tall and stride == down and dilation == apart
    same = module.in_channels == module.out_channels and module.bias is None
    centred = module.padding == (spec.padding, spec.padding) and module.padding_mode == "zeros"
    if not (square and same and centred):
        raise SpecError(
            name, module, "a square, centred Conv2d without bias that keeps its channels",
            "choose another place",
        )  # fmt: skip
    built = spec.build(module.in_channels, ndim=2)
    with torch.no_grad():
        built.weight.copy_(module.weight)
    return built


def _placed(block: nn.Module, module: nn.Module, model: nn.Module) -> nn.Module:
    """The block on the device, in the type and in the mode of what it stands beside."""
    like = next((p for p in (*module.parameters(), *model.parameters())), None)
    if like is not None:
        block = block.to(like.device, like.dtype if like.is_floating_point() else None)
    return block.train(module.training)
