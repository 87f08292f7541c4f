"""The outputs of some modules of a network for one image.

outputs_of_modules(resnet, ["layer2", "layer3"], image)      # {"layer2": ..., "layer3": ...}
"""

import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Shaped
from torch import Tensor, nn
from torch.func import functional_call

from quatrain.insertion.model_hash import named_tensors
from quatrain.nn.modes import unfused_evaluation
from quatrain.specs import InputError

Features = dict[str, Tensor]
"""The outputs for one image, by the names of modules."""

_LOCK = threading.RLock()
"""Held while a network has hooks and another mode, which all threads would see."""


def outputs_of_modules(
    model: nn.Module, names: Sequence[str], image: Shaped[Tensor, "..."]
) -> Features:
    """The outputs of these modules in evaluation mode, without gradients and without autocast.

    The model is called on its own device with a batch of the one image; for an image on the meta
    device, with its parameters and buffers on that device.

    Raises:
        InputError: if a module is not called once, or returns other than a dense tensor with the
            batch on its first axis.
    """
    outputs: Features = {}
    with _LOCK, torch.no_grad(), unfused_evaluation(model), ExitStack() as stack:
        for name in names:
            hook = _keep_output(name, outputs)
            stack.callback(model.get_submodule(name).register_forward_hook(hook).remove)
        tensors = dict(named_tensors(model))
        if image.is_meta:
            on_meta = {name: tensor.to("meta") for name, tensor in tensors.items()}
            functional_call(model, on_meta, (image[None],))
        else:
            device = next((tensor.device for tensor in tensors.values()), image.device)
            with torch.autocast(device.type, enabled=False):
                model(image[None].to(device))
    for name in names:
        if name not in outputs:
            text = f"{name} is not called by the model"
            raise InputError(f"{text}; choose a module that `forward` calls", name)
    return outputs


def _keep_output(name: str, outputs: Features) -> Callable[..., None]:
    """A hook that copies the output of a module, which later layers may change in place."""

    def hook(_module: nn.Module, _inputs: tuple[Any, ...], output: object) -> None:
        if name in outputs:
            text = f"{name} is called twice for one image"
            raise InputError(f"{text}; choose a module that is called once", name)
        if not isinstance(output, Tensor) or output.layout != torch.strided or output.is_nested:
            text = f"{name} returns a {type(output).__name__}, not one dense tensor"
            raise InputError(f"{text}; choose a module that returns one, such as a part", name)
        if output.shape[:1] != (1,):
            text = f"{name} returns shape {tuple(output.shape)} for one image"
            raise InputError(f"{text}; choose a module with the batch on its first axis", name)
        outputs[name] = output[0].detach().clone(memory_format=torch.contiguous_format)

    return hook
