"""torch.fx: a mixer is one node ("call_module") in the graph of any tracer.

By default a tracer enters each module with proxies, which have no shapes to check or to choose an
algorithm by.
"""

from typing import Any

from torch import nn
from torch.fx import Proxy, Tracer

from quatrain.specs import InputError


def record_call(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Record the call of a module as one node, in the graph of its first input's tracer.

    Source: our own; Reed et al. 2021, https://arxiv.org/abs/2112.08429, section 5.1 (leaves).

    Raises:
        InputError: if the module itself is traced.
        TypeError: if the first input is not the proxy of a tracer of modules.
    """
    proxy = inputs[0]
    if not isinstance(proxy, Proxy) or not isinstance(proxy.tracer, Tracer):
        raise TypeError(f"{type(proxy).__name__} is not the proxy of a tracer of modules")
    name = proxy.tracer.path_of_module(module)
    if not name:
        kind, expected = type(module).__name__, "a submodule of the traced model"
        raise InputError("root", kind, expected, "trace the model that contains it")
    return proxy.tracer.create_proxy("call_module", name, inputs, named)
