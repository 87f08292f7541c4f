"""Graphs of torch.fx, in which a mixer is one call of a module, whichever tracer draws them.

A tracer looks into every module that it does not know for a leaf, with proxies that have no shape
to check or to choose a method by.
"""

from typing import Any

from torch import nn
from torch.fx import Proxy, Tracer

from quatrain.specs import InputError


def record_call(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Note the call of a module in the graph of the tracer that its first input belongs to.

    Source: our own; Reed et al. 2021, https://arxiv.org/abs/2112.08429, section 5.1 (leaves).

    Raises:
        InputError: if the module itself is what is traced.
    """
    proxy = inputs[0]
    if not isinstance(proxy, Proxy) or not isinstance(proxy.tracer, Tracer):
        raise TypeError(f"{type(proxy).__name__} belongs to no tracer of modules")
    name = proxy.tracer.path_of_module(module)
    if not name:
        kind, expected = type(module).__name__, "a part of the model that is traced"
        raise InputError("root", kind, expected, "trace the model that holds it")
    return proxy.tracer.create_proxy("call_module", name, inputs, named)
