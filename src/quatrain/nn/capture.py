"""Capture the attention weights inside a model, and sampling offsets.

    with capture(translator, at="decoder.**.cross_attention") as explanations:
        translator(source, target)
    explanations["decoder.0.cross_attention.mixer"][0].weights    # (B, h, Q, K), of the first call

    with capture_offsets(network) as calls:
        network(images)
    calls["layer4.0.conv2"][0].offset                             # (B, P, d, m, 2)

The names are those of `model.named_modules()`; a model that is itself an attention is named "".
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.nn.attention_state import Explanation, QueryPosition
from quatrain.nn.deformable_conv import DeformableConv, SamplingOffsets
from quatrain.nn.find import find_class
from quatrain.nn.generalized_attention import GeneralizedAttention
from quatrain.nn.sampling_mixer import SamplingMixer
from quatrain.specs import InputError

_DEFORMABLE = (DeformableConv, SamplingMixer)


@contextmanager
def capture(
    model: nn.Module, *, at: str | None = None, query: QueryPosition | None = None
) -> Iterator[dict[str, list[Explanation]]]:
    """Explain every call of every attention in `model` within the block.

    The weights are computed separately, without gradients; the output of the model does not
    change. Code compiled by torch.compile runs uncompiled within the block. A layer that is
    computed again in the backward pass (activation checkpointing) is explained once. Step-by-step
    decoding does not call `forward` and is not captured.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.

    Args:
        model: any module; without attention in it, and without `at`, the dictionary is empty.
        at: a pattern of module names, as in `quatrain.find`: only these modules and those in them.
        query: explain one query of each call only: its coordinates (t,) or (y, x), or a function
            from the sizes of the queries to them; see `GeneralizedAttention.explain`.

    Raises:
        InputError: if `at` matches no module, or no attention; the message lists similar names. If
            a model without attention has scripted, traced or exported parts, whose modules cannot
            be observed.
    """
    attentions = find_class(model, GeneralizedAttention, noun="attention")
    if not attentions:
        _check_no_graphs(model)
    if at is not None:
        attentions = find_class(model, GeneralizedAttention, at, noun="attention")
    explanations: dict[str, list[Explanation]] = {name: [] for name in attentions}
    with _explained(attentions, explanations, {"at": query}):
        yield explanations


@contextmanager
def capture_offsets(
    model: nn.Module, *, at: str | None = None
) -> Iterator[dict[str, list[SamplingOffsets]]]:
    """Record the sampling offsets of every call of every deformable mixer within the block.

    These are deformable convolutions, deformable attention, DCNv3 and DCNv4.

    They are computed separately, without gradients; the output of the model does not change.
    Compiled code, activation checkpointing and step-by-step decoding are as in `capture`.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 4.

    Args:
        model: any module; without such a mixer, and without `at`, the dictionary is empty.
        at: a pattern of module names, as in `quatrain.find`: only these modules and those in them.

    Raises:
        InputError: as `capture`.
    """
    mixers = find_class(model, _DEFORMABLE)
    if not mixers:
        _check_no_graphs(model)
    if at is not None:
        mixers = find_class(model, _DEFORMABLE, at, noun="deformable mixer")
    calls: dict[str, list[SamplingOffsets]] = {name: [] for name in mixers}
    with _explained(mixers, calls, {}):
        yield calls


def _check_no_graphs(model: nn.Module) -> None:
    """Check that there are no scripts and graphs, which compute mixers without their modules."""
    graphs = (torch.jit.ScriptModule, torch.fx.GraphModule, torch.export.UnflattenedModule)
    for name, module in model.named_modules():
        if isinstance(module, graphs):
            field = name or "model"
            remedy = "capture the original model, before it is scripted, traced or exported"
            raise InputError(f"{field} is a graph without modules of mixers; {remedy}", field)


@contextmanager
def _explained(
    modules: Mapping[str, GeneralizedAttention | DeformableConv | SamplingMixer],
    calls: Mapping[str, list[Any]],
    options: dict[str, Any],
) -> Iterator[None]:
    """Append the explanation of each call of a module to its list within the block."""
    with ExitStack() as hooks:
        for name, module in modules.items():
            hook = _explain_into(calls[name], options)
            handle = module.register_forward_hook(hook, with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code has no hooks
        yield


def _explain_into(calls: list[Any], options: dict[str, Any]) -> Any:
    def hook(
        module: GeneralizedAttention | DeformableConv | SamplingMixer,
        inputs: tuple[Any, ...],
        named: dict[str, Any],
        _: Tensor,
    ) -> None:
        if torch._C._current_graph_task_id() != -1:  # in a backward pass
            return
        explained = {name: value for name, value in named.items() if name != "method"}
        with torch.no_grad():
            calls.append(module.explain(*inputs, **explained, **options))

    return hook
