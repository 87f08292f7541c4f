"""Capture the attention weights inside a model, and the logits of each term.

    with capture(translator) as explanations:
        translator(source, target)
    explanations["encoder.0.self_attention.mixer"][0].weights    # (B, h, Q, K), of the first call

The names are those of `model.named_modules()`; a model that is itself an attention is named "".
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.nn.attention_state import Explanation
from quatrain.nn.generalized_attention import GeneralizedAttention, QueryPosition
from quatrain.specs import InputError


@contextmanager
def capture(
    model: nn.Module, *, at: QueryPosition | None = None
) -> Iterator[dict[str, list[Explanation]]]:
    """Explain every call of every attention in `model` within the block.

    The weights are computed separately, without gradients; the output of the model does not
    change. Code compiled by torch.compile runs uncompiled within the block. A layer that is
    computed again in the backward pass (activation checkpointing) is explained once. Step-by-step
    decoding does not call `forward` and is not captured.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.

    Args:
        model: any module; without attention in it the dictionary is empty.
        at: explain one query of each call only; see `GeneralizedAttention.explain`.

    Raises:
        InputError: if a model without attention has scripted, traced or exported parts, whose
            modules cannot be observed.
    """
    explanations: dict[str, list[Explanation]] = {}
    attentions = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, GeneralizedAttention)
    ]
    if not attentions:
        _check_no_graphs(model)
    with ExitStack() as hooks:
        for name, module in attentions:
            calls = explanations[name] = []
            handle = module.register_forward_hook(_explain_into(calls, at), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code has no hooks
        yield explanations


def _check_no_graphs(model: nn.Module) -> None:
    """Check that there are no scripts and graphs, which compute attention without its modules."""
    graphs = (torch.jit.ScriptModule, torch.fx.GraphModule, torch.export.UnflattenedModule)
    for name, module in model.named_modules():
        if isinstance(module, graphs):
            field = name or "model"
            remedy = "capture the original model, before it is scripted, traced or exported"
            raise InputError(f"{field} is a graph without modules of attention; {remedy}", field)


def _explain_into(calls: list[Explanation], at: QueryPosition | None) -> Any:
    def hook(
        module: GeneralizedAttention, inputs: tuple[Any, ...], named: dict[str, Any], _: Tensor
    ) -> None:
        if torch._C._current_graph_task_id() != -1:  # in a backward pass
            return
        shown = {name: value for name, value in named.items() if name != "method"}
        with torch.no_grad():
            calls.append(module.explain(*inputs, **shown, at=at))

    return hook
