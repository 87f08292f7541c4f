"""A mask that a model is called with, handed to the wrappers inside of it for that call."""

from collections.abc import Iterator
from typing import Any

from torch import nn
from torch.utils.hooks import RemovableHandle

from quatrain.insertion.arguments import parameters_of
from quatrain.insertion.wrappers import Wrapper


class _PassMask:
    """Before a call of the model: gives the argument to those that read it."""

    def __init__(self, model: nn.Module, argument: str) -> None:
        self.argument, self.parameters = argument, parameters_of(model)
        self.handles: list[RemovableHandle] = []

    def __call__(self, model: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> None:
        mask = self.parameters.by_name(inputs, named).get(self.argument)
        for wrapper in _readers(model, self.argument):
            wrapper.set_model_mask((mask,))


class _ClearMask:
    """After a call of the model, also one that fails."""

    def __init__(self, argument: str) -> None:
        self.argument = argument

    def __call__(self, model: nn.Module, *_: object) -> None:
        for wrapper in _readers(model, self.argument):
            wrapper.set_model_mask(None)


def pass_padding_mask(model: nn.Module, argument: str) -> None:
    """From now on, hand this argument of every call of the model to the wrappers that read it."""
    if any(hook.argument == argument for hook in _hooks(model)):
        return
    hook = _PassMask(model, argument)
    hook.handles = [
        model.register_forward_pre_hook(hook, with_kwargs=True),
        model.register_forward_hook(_ClearMask(argument), always_call=True),
    ]


def remove_unused_hooks(model: nn.Module) -> None:
    """Remove the hooks that no wrapper needs any more."""
    for part in list(model.modules()):
        unread = [hook for hook in _hooks(part) if not any(_readers(part, hook.argument))]
        for handle in (handle for hook in unread for handle in hook.handles):
            handle.remove()


def _hooks(model: nn.Module) -> list[_PassMask]:
    return [hook for hook in model._forward_pre_hooks.values() if isinstance(hook, _PassMask)]


def _readers(model: nn.Module, argument: str) -> Iterator[Wrapper]:
    for part in model.modules():
        if isinstance(part, Wrapper) and part.reads.of_model and part.reads.padding == argument:
            yield part
