"""Pass the padding mask of each call of a model to the wrappers inside the model."""

from typing import Any

from torch import nn

from quatrain.insertion.example_pass import signature_of
from quatrain.insertion.wrappers import Wrapper


class _MaskHooks:
    """Two hooks of a model: its mask is set in the wrappers before a call, and cleared after it."""

    def __init__(self, model: nn.Module, argument: str) -> None:
        self.argument, self.signature = argument, signature_of(model)
        self.handles = [
            model.register_forward_pre_hook(self.set_mask, with_kwargs=True),
            model.register_forward_hook(self.clear_mask, always_call=True),
        ]

    def set_mask(self, model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        mask = self.signature.bind(args, kwargs).get(self.argument)
        for wrapper in _readers(model, self.argument):
            wrapper.set_model_mask((mask,))

    def clear_mask(self, model: nn.Module, *_: object) -> None:
        for wrapper in _readers(model, self.argument):
            wrapper.set_model_mask(None)


def pass_padding_mask(model: nn.Module, argument: str) -> None:
    """Pass this argument of every future call of the model to the wrappers that read it."""
    if not any(hooks.argument == argument for hooks in _mask_hooks(model)):
        _MaskHooks(model, argument)


def remove_unused_hooks(model: nn.Module) -> None:
    """Remove the hooks of the model, and of models in it, that no wrapper needs any more."""
    for part in list(model.modules()):
        unread = [hooks for hooks in _mask_hooks(part) if not _readers(part, hooks.argument)]
        for handle in (handle for hooks in unread for handle in hooks.handles):
            handle.remove()


def _mask_hooks(model: nn.Module) -> list[_MaskHooks]:
    owners = (getattr(hook, "__self__", None) for hook in model._forward_pre_hooks.values())
    return [owner for owner in owners if isinstance(owner, _MaskHooks)]


def _readers(model: nn.Module, argument: str) -> list[Wrapper]:
    wrappers = [part for part in model.modules() if isinstance(part, Wrapper)]
    of_model = [wrapper for wrapper in wrappers if wrapper.arguments.padding_of_model]
    return [wrapper for wrapper in of_model if wrapper.arguments.padding == argument]
