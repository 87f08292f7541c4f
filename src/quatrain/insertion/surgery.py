"""Insert mixers into a model, replace modules by mixers, and remove the mixers again.

A wrapper takes the place and the name of each module, so weights saved before still load. Its mixer
reads the activation at the place, whether it is causal, and a padding mask; other arguments of the
place are refused. `key_padding_mask` names an argument of the place or of the model, such as
transformers' "attention_mask", where 1 is a real token; if its name contains "padding", 1 is
padding, as in torch's masks.

    insert / replace
      find             the modules that match the pattern
      example_pass     one forward pass: calls, numbers of axes, permutations
      shapes           channels and layout at each place
      arguments        the mask and the causal flag that the mixer reads (masks: their meaning)
      conv_replacement the spec and weight of a converted convolution
      wrappers         the wrapper at each place (loading: weights saved without it)
      model_mask       hooks that pass a mask of the model to the wrappers
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import torch
from torch import nn

from quatrain.insertion.arguments import (
    MixerArguments,
    PaddingArgument,
    Place,
    arguments_for_insertion,
    arguments_for_replacement,
)
from quatrain.insertion.conv_replacement import converted_spec, converts, replace_convolution
from quatrain.insertion.example_pass import Example, ExamplePass, ancestors, run_example
from quatrain.insertion.model_mask import pass_padding_mask, remove_unused_hooks
from quatrain.insertion.shapes import ActivationShape, Layout, Placement, activation_shapes
from quatrain.insertion.wrappers import (
    ContainerInsertionWrapper,
    InsertionWrapper,
    ReplacementWrapper,
    Wrapper,
)
from quatrain.nn.find import find
from quatrain.nn.layers import GatedResidual
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.parameters import initialize_by_name
from quatrain.specs import InputError, SpecError
from quatrain.specs.errors import shorten


@dataclass(frozen=True)
class Surgery:
    """The handle of an insertion or replacement: the wrapper at each place of the model."""

    model: nn.Module
    wrappers: Mapping[str, Wrapper]

    def __repr__(self) -> str:
        """The names of the places, and the activation shape and mixer at each."""
        width = max(map(len, self.wrappers), default=0)
        lines = [f"Surgery of {type(self.model).__name__}, {len(self.wrappers)} places:"]
        for name, wrapper in self.wrappers.items():
            block = wrapper.block
            mixer = type(block.mixer if isinstance(block, GatedResidual) else block).__name__
            verb = wrapper.placement if isinstance(wrapper, InsertionWrapper) else "instead of"
            place = f"{verb} {type(wrapper.wrapped).__name__}"
            lines.append(f"  {name:{width}}  {wrapper.activation_shape}  {mixer} {place}")
        return "\n".join(lines)

    def remove(self) -> None:
        """Put the wrapped modules back: the same objects, under the same names.

        Raises:
            InputError: if a place has another module by now.
        """
        for name, wrapper in self.wrappers.items():
            if self.model.get_submodule(name) is not wrapper:
                raise InputError(f"{name} was changed since; remove later changes first", name)
        for wrapper in self.wrappers.values():
            _unwrap(self.model, wrapper)
        remove_unused_hooks(self.model)

    undo = remove  # the name before 0.2


def insert(
    model: nn.Module,
    mixer: Mixer,
    *,
    after: str | None = None,
    before: str | None = None,
    example: Example,
    layout: Layout | None = None,
    causal: bool | None = None,
    key_padding_mask: PaddingArgument = None,
    seed: int | None = None,
) -> Surgery:
    """Add x + gamma * mixer(x) after, or before, every module whose name matches.

    gamma is zero initially, so the outputs of the model are the same bit for bit, unless the mixer
    overflows, as it may in float16. In the paper's residual blocks, "after the second convolution,
    its normalization and ReLU" is `before="layer3.*.conv3"`. Generate text without a key cache.

    Args:
        model: any module; it is changed in place.
        mixer: the spec of the mixer; each place gets its own.
        after: a pattern (see `find`); the mixer reads the output of these modules.
        before: a pattern; the mixer reads the first argument of these modules.
        example: an input of the model; one forward pass gives channels and layout.
        layout: the axes at the places: "channels_first" is (B, C, T) or (N, C, H, W),
            "channels_last" (B, T, C) or (N, H, W, C), "time_first" (T, B, C); None to infer it.
        causal: whether the mixer sees no later positions (sequences); required in a causal model.
        key_padding_mask: the argument that marks padding, which the mixer leaves out; False to
            attend to it. Required where the example has a mask, unless `causal` explains it.
        seed: of the initial weights, with the place's name; None draws it by torch's random state.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).

    Raises:
        InputError: if no module matches, or an activation, its layout or a mask does not fit.
        SpecError: if the mixer is None or does not fit the channels.
    """
    if (after is None) == (before is None):
        raise InputError("pass a pattern as one of after and before", "after, before")
    placement: Placement = "after" if after is not None else "before"
    places = _places(model, mixer, after or before or "")
    _check_stride(mixer)
    run = run_example(model, places, example)
    shapes = activation_shapes(model, places, placement, run, layout)
    arguments = {
        name: arguments_for_insertion(
            Place(model, name, shape, run, placement, causal, key_padding_mask)
        )
        for name, shape in shapes.items()
    }
    seed = _seed(seed)

    def wrap(name: str, module: nn.Module) -> InsertionWrapper:
        methods = ("__len__", "__iter__", "__getitem__")
        indexable = all(hasattr(type(module), method) for method in methods)
        kind = ContainerInsertionWrapper if indexable else InsertionWrapper
        block = _build_block(model, name, mixer, shapes[name], seed, residual=True)
        return kind(module, block, placement, shapes[name], arguments[name])

    return _wrap_places(model, places, run, wrap)


def replace(
    model: nn.Module,
    mixer: Mixer,
    *,
    at: str,
    example: Example | None = None,
    layout: Layout | None = None,
    causal: bool | None = None,
    key_padding_mask: PaddingArgument = None,
    ignore: Sequence[str] = (),
    seed: int | None = None,
) -> Surgery:
    """Replace every module whose name matches by a mixer.

    A convolution that replaces a `nn.Conv2d` or `nn.Conv1d` takes its kernel, stride, dilation and
    groups, and shares its weight and bias: with offsets of zero the outputs are the same (with
    modulation, half of them before the bias). Other places must keep their channels.

    The mixer reads the first argument of a call, a padding mask and a causal flag; where the pixels
    of a map come as a sequence, it also reads the height and width. Instead of
    a tuple, such as output and weights, the place returns the mixer's output and None.

    Args:
        model: any module; it is changed in place.
        mixer: the spec of the mixer; each place gets its own.
        at: a pattern (see `find`).
        example: an input of the model; not needed for convolutions that share a weight.
        layout: the axes at the places, as for `insert`.
        causal: as for `insert`; a causal flag of the place is read without it.
        key_padding_mask: as for `insert`; a "...padding..." argument of the place is read without.
        ignore: arguments of the place that the mixer ignores, such as the "position_bias" of T5.
        seed: the seed of the initial weights, as for `insert`.

    Raises:
        InputError: if no module matches, a place contains another, changes the number of channels
            or is called with an argument that the mixer cannot use, or the example is missing.
        SpecError: if the mixer is None, cannot replace a convolution or does not fit the channels.
    """
    places = _places(model, mixer, at)
    _check_nested(places)
    others = {name: each for name, each in places.items() if not converts(mixer, each)}
    run, by_place = ExamplePass(), dict[str, tuple[ActivationShape, MixerArguments]]()
    if others:
        if example is None:
            raise InputError("pass an input of the model as example", "example")
        _check_stride(mixer)
        run = run_example(model, others, example)
        options = (causal, key_padding_mask, tuple(ignore))
        by_place = _replacement_shapes(model, others, run, layout, options)
    seed = _seed(seed)

    def wrap(name: str, module: nn.Module) -> ReplacementWrapper:
        if name in by_place:
            shape, arguments = by_place[name]
            block = _build_block(model, name, mixer, shape, seed)
            return ReplacementWrapper(module, block, shape, arguments=arguments)
        shape, spec = converted_spec(name, module, mixer)
        return replace_convolution(module, _build_block(model, name, spec, shape, seed), shape)

    return _wrap_places(model, places, run, wrap)


def _replacement_shapes(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    run: ExamplePass,
    layout: Layout | None,
    options: tuple[bool | None, PaddingArgument, tuple[str, ...]],
) -> dict[str, tuple[ActivationShape, MixerArguments]]:
    """The activation shape of each place, which it must keep, and the arguments of its mixer."""
    outputs = activation_shapes(model, places, "after", run, layout)
    by_place = {}
    for name, shape in activation_shapes(model, places, "before", run, layout).items():
        if outputs[name] != shape:
            change = f"{name} turns {shape} into {outputs[name]}"
            raise InputError(f"{change}; choose a place that keeps its channels", name)
        place = Place(model, name, shape, run, "before", *options)
        arguments = arguments_for_replacement(place)
        ndim = 2 if arguments.sizes else shape.ndim
        by_place[name] = ActivationShape(shape.channels, ndim, shape.layout), arguments
    return by_place


def remove(model: nn.Module, at: str = "**") -> list[str]:
    """Put back the modules that `insert` and `replace` wrapped where the name matches.

    The same objects return; a converted convolution with the weights learned since.

    Returns:
        The names of those places.

    Raises:
        InputError: if there is no wrapper.
    """
    wrappers = _wrappers(find(model, at))
    if not wrappers:
        raise InputError(f"no wrapper matches {shorten(at)}; see find(model, at)", "at")
    names = list(dict.fromkeys(_unwrapped_name(name, wrappers) for name in wrappers))
    while wrappers:  # the modules that return may contain wrappers
        for wrapper in reversed(wrappers.values()):  # inner places first
            _unwrap(model, wrapper)
        wrappers = _wrappers(find(model, at))
    remove_unused_hooks(model)
    return names


def _unwrap(model: nn.Module, wrapper: Wrapper) -> None:
    """Put the wrapped module back under each name that the wrapper has by now."""
    original = wrapper.unwrap()
    for name, part in list(model.named_modules(remove_duplicate=False)):
        if part is wrapper:
            model.set_submodule(name, original)


def _wrappers(places: Mapping[str, nn.Module]) -> dict[str, Wrapper]:
    return {name: module for name, module in places.items() if isinstance(module, Wrapper)}


def _unwrapped_name(name: str, wrappers: Mapping[str, Wrapper]) -> str:
    """The name that a place has without the wrappers around it."""
    for outer in reversed(list(wrappers)):
        if f"{name}.".startswith(f"{outer}.original."):
            name = outer + name.removeprefix(f"{outer}.original")
    return name


def _wrap_places(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    run: ExamplePass,
    wrap: Callable[[str, nn.Module], Wrapper],
) -> Surgery:
    """Build all wrappers, then put them into the model, so that an error changes nothing."""
    names = {module: name for name, module in places.items()}
    for other, module in model.named_modules(remove_duplicate=False):
        name = names.get(module, other)
        if name != other:
            raise InputError(f"{name} is also {other}; untie it or leave it out", name)
    wrappers = {name: wrap(name, module) for name, module in places.items()}
    for name, wrapper in wrappers.items():
        wrapper.outputs = run.outputs(name)
    for name, wrapper in reversed(wrappers.items()):  # inner places first
        model.set_submodule(name, wrapper)
    layers = [part for part in model.modules() if isinstance(part, nn.TransformerEncoderLayer)]
    parts_of_layers = {part for layer in layers for part in layer.modules()}
    for wrapper in wrappers.values():
        if wrapper in parts_of_layers:
            # A layer in evaluation calls this part, instead of one fused operator, for its hook.
            wrapper.register_forward_pre_hook(_do_nothing)
        if wrapper.arguments.padding_of_model:
            pass_padding_mask(model, str(wrapper.arguments.padding))
    return Surgery(model, wrappers)


def _do_nothing(module: nn.Module, args: object) -> None:
    del module, args


def _build_block(
    model: nn.Module,
    name: str,
    mixer: Mixer,
    shape: ActivationShape,
    seed: int,
    *,
    residual: bool = False,
) -> nn.Module:
    """Build a mixer for a place, with its device, dtype and mode.

    The initial weights depend on the seed and the name of the place alone, and are drawn on the
    CPU, so that they are the same on every device. Another mixer at a place has another name.
    """
    module = model.get_submodule(name)
    wrapped = sum(isinstance(part, Wrapper) for part in module.modules())
    on_meta = any(parameter.is_meta for parameter in module.parameters())
    with torch.random.fork_rng(devices=[]), torch.device("meta" if on_meta else "cpu"):
        block = mixer.build(shape.channels, ndim=shape.ndim)
        initialize_by_name(block, seed, prefix=f"{name}{'+' * wrapped}.")
        block = GatedResidual(block) if residual else block
    parameter = next(chain(module.parameters(), model.parameters()), None)
    if parameter is not None:
        dtype = parameter.dtype if parameter.is_floating_point() else None
        block = block.to(parameter.device, dtype)
    return block.train(module.training)


def _seed(seed: int | None) -> int:
    return int(torch.randint(2**62, (), device="cpu")) if seed is None else seed


def _places(model: nn.Module, mixer: Mixer | None, pattern: str) -> dict[str, nn.Module]:
    """The modules to wrap; scripted ones are refused, since they take no hooks or other parts."""
    if mixer is None:  # as for "w/o", the first mixer of a study
        raise SpecError('the mixer is None; leave the model as it is for "w/o"', "mixer")
    places = find(model, pattern)
    for name in places:
        for path in (name, *ancestors(name)):
            if isinstance(model.get_submodule(path), torch.jit.ScriptModule):
                field = path or "model"
                raise InputError(f"{field} is scripted; change the model before scripting", field)
    return places


def _check_nested(places: Mapping[str, nn.Module]) -> None:
    for name in places:
        outer = next((place for place in places if name.startswith(f"{place}.")), None)
        if outer is not None:
            raise InputError(f"{name} is a part of {outer}, which matches too; name one", name)


def _check_stride(mixer: Mixer) -> None:
    convolution, _ = split_mixer(mixer)
    stride = getattr(convolution, "stride", 1)
    if stride > 1:
        raise SpecError(f"stride={stride} is for replaced convolutions only; use 1", "stride")
