"""Mixers in graphs: torch.fx records each as one node, TorchScript cannot script them.

By default a torch.fx tracer enters each module with proxies, which have no shapes to check or to
choose an algorithm by.
"""

import warnings
from typing import Any

import torch
from torch import nn
from torch.fx import Proxy, Tracer

from quatrain.specs import InputError


def record_call(module: nn.Module, *inputs: Any, **named: Any) -> Any:
    """Record the call of a module as one "call_module" node, in its first input's torch.fx graph.

    Source: our own; Reed et al. 2021, https://arxiv.org/abs/2112.08429, section 5.1 (leaves).
    """
    proxy = inputs[0]
    if not isinstance(proxy, Proxy) or not isinstance(proxy.tracer, Tracer):
        raise TypeError(f"{type(proxy).__name__} is not the proxy of a tracer of modules")
    name = proxy.tracer.path_of_module(module)
    if not name:
        kind = type(module).__name__
        raise InputError(f"{kind} is the root of the trace; trace a model that contains it", "root")
    return proxy.tracer.create_proxy("call_module", name, inputs, named)


def check_not_scripted(module: nn.Module) -> nn.Module:
    """Raise an error in `torch.jit.script`, which calls a module's `__prepare_scriptable__`.

    Source: our own; torch recommends `torch.export` since version 2.
    """
    kind = type(module).__name__
    reason = "has specs or shape annotations, which torch.jit.script does not support"
    raise InputError(f"{kind} {reason}; use torch.export.export", "module")


def warn_of_tracing(module: nn.Module) -> None:
    """Warn in `torch.jit.trace`, which records the sizes of its example as constants."""
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        warnings.warn(
            f"a trace of {type(module).__name__} is valid for inputs of the example's size only; "
            "use torch.export.export for other sizes",
            stacklevel=2,
        )
