"""Insert mixers into a model, replace modules by them, and take it all back.

A place keeps its name: what was there becomes part of an `InsertionWrapper`, or is put aside by a
`ReplacementWrapper`, at the same name, and weights saved from the model before still load into it.

A mixer reads what passes its place, whether it is causal, and a mask of padding; nothing else that
the place is called with. `key_padding_mask` names an argument of the place, or else of the model,
such as transformers' "attention_mask", in which 1 is a real token. If the name contains "padding",
1 is padding, as in torch's own masks.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from quatrain.insertion.arguments import Reads
from quatrain.insertion.conv_replacement import fitted, stand_in, takes_over
from quatrain.insertion.example_pass import Example, ExamplePass, holders, run_example
from quatrain.insertion.find import find
from quatrain.insertion.layouts import Layout
from quatrain.insertion.padding import pass_padding_mask, remove_unused_hooks
from quatrain.insertion.reading import (
    Masking,
    PaddingArgument,
    Place,
    reads_beside,
    reads_instead,
)
from quatrain.insertion.shapes import ActivationShape, Placement, activation_shapes
from quatrain.insertion.wrappers import InsertionWrapper, ReplacementWrapper, Wrapper, inserted
from quatrain.nn.initialization import initialize_by_name
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.residual import GatedResidual
from quatrain.specs import InputError, SpecError


@dataclass(frozen=True)
class Surgery:
    """What was changed in a model: what stands at each name now."""

    model: nn.Module
    wrappers: Mapping[str, Wrapper]

    def remove(self) -> None:
        """Put back what stood there: the same objects, under the same names.

        Raises:
            InputError: if something else has been put there since.
        """
        for name, module in self.wrappers.items():
            if self.model.get_submodule(name) is not module:
                expected = "the module that this change put there"
                raise InputError(name, "another module", expected, "remove later changes first")
        for name, module in self.wrappers.items():
            _restore(self.model, name, module)
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
    """Add a mixer after, or before, every module whose name matches, as x + gamma * mixer(x).

    gamma is zero at first, so that the model still computes what it did, bit for bit, unless the
    mixer overflows, as it may in float16: zero times infinity is no number. Widths are
    read off one forward pass of `example`; in the paper's residual blocks, "after the second
    convolution, its normalization and ReLU" is `before="layer3.*.conv3"`.

    The mixer keeps no keys from one call to the next: generate without a cache.

    Args:
        model: any module; it is changed in place.
        mixer: what to insert; each place gets its own.
        after: a pattern (see `find`); the mixer reads what these modules give.
        before: the same; the mixer reads the first argument of these modules.
        example: what the model is called with.
        layout: the axes of what passes there: "channels_first" is (B, C, T) or (N, C, H, W),
            "channels_last" (B, T, C) or (N, H, W, C), "time_first" (T, B, C). None reads it off
            the modules at the place and around it.
        causal: whether an output of the mixer sees only positions at or before its own
            (sequences); to be given where the model is seen to be causal.
        key_padding_mask: the argument that marks padding, which the mixer leaves out; False lets it
            see all. To be given where a mask is seen, unless `causal` accounts for it.
        seed: of first weights, which depend on it and on the name of the place alone; None draws
            one from torch's random state, whatever is inserted.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).

    Raises:
        InputError: if no module matches, what passes there is neither a map nor a sequence, its
            layout cannot be told, or the model masks positions and the mixer is not told how.
        SpecError: if there is no mixer, or it does not fit the width found.
    """
    if (after is None) == (before is None):
        raise InputError("after, before", (after, before), "one of them", "name one place")
    side: Placement = "after" if after is not None else "before"
    _refuse_nothing(mixer)
    places = _places(model, after or before or "")
    _refuse_strides(mixer)
    masking = Masking(causal, key_padding_mask)
    seen = _seen_beside(model, places, side, run_example(model, places, example), layout, masking)
    seed = _seed(seed)

    def wrapped(name: str, module: nn.Module) -> InsertionWrapper:
        width, reads = seen[name]
        block = GatedResidual(_built(mixer, width, name, module, seed))
        return inserted(module, _placed(block, module, model), side, width.layout, reads)

    return _exchange(model, places, wrapped)


def replace(
    model: nn.Module,
    mixer: Mixer,
    *,
    at: str,
    example: Example | None = None,
    layout: Layout | None = None,
    causal: bool | None = None,
    key_padding_mask: PaddingArgument = None,
    seed: int | None = None,
) -> Surgery:
    """Put a mixer in the place of every module whose name matches.

    A convolution in the place of a `nn.Conv2d` or `nn.Conv1d` takes over its kernel, stride,
    dilation and groups, and shares its weight and bias, so that with offsets of zero it computes
    the same; a modulated one, half of it before the bias. Anything else is of the width that passes
    there, read off one forward pass of `example`.

    The mixer reads the first argument of the call, a mask of padding and a flag of causality; the
    height and width of a map whose pixels come as a sequence make it a map again.

    Args:
        model: any module; it is changed in place.
        mixer: what to put there; each place gets its own.
        at: a pattern (see `find`).
        example: what the model is called with; not needed where weights are taken over.
        layout: the axes of what passes there, as for `insert`.
        causal: as for `insert`; a flag of the place's call is read without.
        key_padding_mask: as for `insert`; "...padding..." of the place is read without.
        seed: of first weights, as for `insert`.

    Raises:
        InputError: if no module matches, a place lies in another, a place changes the width of what
            passes or is called with an argument that the mixer cannot use, or an example is needed
            and missing.
        SpecError: if there is no mixer, a convolution cannot be taken over, or the mixer does not
            fit the width.
    """
    _refuse_nothing(mixer)
    places = _places(model, at)
    _refuse_nested(places)
    rest = {name: each for name, each in places.items() if not takes_over(mixer, each)}
    if rest and example is None:
        raise InputError("example", None, "what the model is called with", "give an example")
    seen: dict[str, tuple[ActivationShape, Reads]] = {}
    if rest and example is not None:
        _refuse_strides(mixer)
        seen = _seen_inside(model, rest, example, layout, Masking(causal, key_padding_mask))
    seed = _seed(seed)

    def replaced(name: str, module: nn.Module) -> ReplacementWrapper:
        if name not in seen:
            width, spec = fitted(name, module, mixer)
            block = _placed(_built(spec, width, name, module, seed), module, model)
            return stand_in(module, block, width.layout)
        width, reads = seen[name]
        block = _placed(_built(mixer, width, name, module, seed), module, model)
        return ReplacementWrapper(module, block, width.layout, reads=reads)

    return _exchange(model, places, replaced)


def _seen_beside(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    side: Placement,
    seen: ExamplePass,
    layout: Layout | None,
    masking: Masking,
) -> dict[str, tuple[ActivationShape, Reads]]:
    """The width of each place, and which arguments a mixer before or after it reads."""
    return {
        name: (width, reads_beside(Place(model, name, width, seen, side), masking))
        for name, width in activation_shapes(model, places, side, seen, layout).items()
    }


def _seen_inside(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    example: Example,
    layout: Layout | None,
    masking: Masking,
) -> dict[str, tuple[ActivationShape, Reads]]:
    """The width of places that keep it, and which of their arguments a mixer there reads."""
    seen = run_example(model, places, example)
    by_place = {}
    gives = activation_shapes(model, places, "after", seen, layout)
    for name, width in activation_shapes(model, places, "before", seen, layout).items():
        if gives[name] != width:
            problem = f"{width.channels} channels in and {gives[name].channels} out"
            raise InputError(name, problem, "a place that keeps its width", "choose another")
        reads = reads_instead(Place(model, name, width, seen), masking)
        by_place[name] = (
            ActivationShape(width.channels, 2, width.layout) if reads.sizes else width,
            reads,
        )
    return by_place


def remove(model: nn.Module, at: str = "**") -> list[str]:
    """Put back what stood where the name matches, before anything was inserted or replaced there.

    The very same modules return; a convolution with what has been learnt in its place.

    Returns:
        The names of those places.

    Raises:
        InputError: if nothing was inserted or replaced there.
    """
    wrappers = _standing(find(model, at))
    if not wrappers:
        expected = "a place with something inserted or replaced"
        raise InputError("at", at, expected, "see find(model, at)")
    names = list(dict.fromkeys(_without_changes(name, wrappers) for name in wrappers))
    while wrappers:  # what was put aside may hold changes of its own
        for name, module in reversed(wrappers.items()):  # inner places before those around them
            _restore(model, name, module)
        wrappers = _standing(find(model, at))
    remove_unused_hooks(model)
    return names


def _restore(model: nn.Module, name: str, module: Wrapper) -> None:
    """Put back what stood there, also under other names that were given to the module since."""
    original = module.restored()
    for alias, part in list(model.named_modules(remove_duplicate=False)):
        if part is module and alias != name:
            model.set_submodule(alias, original)
    model.set_submodule(name, original)


def _standing(places: Mapping[str, nn.Module]) -> dict[str, Wrapper]:
    return {name: module for name, module in places.items() if isinstance(module, Wrapper)}


def _without_changes(name: str, standing: Mapping[str, Wrapper]) -> str:
    """The name a place had before it, or what it lies in, became part of what stands there."""
    for outer in reversed(list(standing)):
        if f"{name}.".startswith(f"{outer}.original."):
            name = outer + name.removeprefix(f"{outer}.original")
    return name


def _exchange(
    model: nn.Module,
    places: Mapping[str, nn.Module],
    make: Callable[[str, nn.Module], Wrapper],
) -> Surgery:
    """Make all new modules before the first is put in place, so that an error changes nothing."""
    names: dict[nn.Module, list[str]] = {}
    for name, module in model.named_modules(remove_duplicate=False):
        names.setdefault(module, []).append(name)
    for name, module in places.items():
        if len(names[module]) > 1:
            expected = "a module of one name, not tied to another"
            raise InputError(name, f"also {names[module][1]}", expected, "untie or leave it out")
    now = {name: make(name, module) for name, module in places.items()}
    for name, module in reversed(now.items()):  # inner places before those around them
        model.set_submodule(name, module)
    layers = [each for each in model.modules() if isinstance(each, nn.TransformerEncoderLayer)]
    within = {part for layer in layers for part in layer.modules()}
    for module in now.values():
        if module in within:
            module.require_calls()
        if module.reads.of_model:
            pass_padding_mask(model, str(module.reads.padding))
    return Surgery(model, now)


def _built(
    mixer: Mixer, width: ActivationShape, name: str, module: nn.Module, seed: int
) -> nn.Module:
    """A mixer with first weights of its own, made on the CPU so that they are the same anywhere.

    One that goes where others have gone before draws by another name than they did.
    """
    before = sum(isinstance(part, Wrapper) for part in module.modules())
    on_meta = any(each.is_meta for each in module.parameters())
    with torch.random.fork_rng(devices=[]), torch.device("meta" if on_meta else "cpu"):
        built = mixer.build(width.channels, ndim=width.ndim)
        initialize_by_name(built, seed, prefix=f"{name}{'+' * before}.")
    return built


def _seed(seed: int | None) -> int:
    return int(torch.randint(2**62, (), device="cpu")) if seed is None else seed


def _refuse_nested(places: Mapping[str, nn.Module]) -> None:
    for name in places:
        outer = next((each for each in places if name.startswith(f"{each}.")), None)
        if outer is not None:
            expected = f"a place outside of {outer}, which is replaced too"
            raise InputError(name, "a part of another place", expected, "name one of them")


def _places(model: nn.Module, pattern: str) -> dict[str, nn.Module]:
    """The modules to change; a scripted one takes neither hooks nor other parts."""
    places = find(model, pattern)
    for name in places:
        for each in (name, *holders(name)):
            module = model.get_submodule(each)
            if isinstance(module, torch.jit.ScriptModule):
                expected = "a place outside of scripted modules"
                remedy = "change the model before scripting it"
                raise InputError(each or "model", type(module).__name__, expected, remedy)
    return places


def _refuse_nothing(mixer: Mixer | None) -> None:
    """The mixers of a study begin with "w/o"."""
    if mixer is None:
        raise SpecError("mixer", None, "something to insert", 'leave the model as it is for "w/o"')


def _refuse_strides(mixer: Mixer) -> None:
    convolution, _ = split_mixer(mixer)
    stride = getattr(convolution, "stride", 1)
    if stride > 1:
        expected = "1 but in the place of a convolution"
        raise SpecError("stride", stride, expected, "keep every position")


def _placed(block: nn.Module, module: nn.Module, model: nn.Module) -> nn.Module:
    """The block on the device, in the type and in the mode of what it stands beside."""
    like = next((p for p in (*module.parameters(), *model.parameters())), None)
    if like is not None:
        block = block.to(like.device, like.dtype if like.is_floating_point() else None)
    return block.train(module.training)
