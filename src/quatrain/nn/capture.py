"""Watch the attentions inside a bigger model: their weights, and the logits of each of their terms.

    with capture(translator) as seen:
        translator(source, target)
    seen["encoder.0.self_attention.mixer"][0].weights    # (B, h, Q, K), of the first call

The names are those of `model.named_modules()`; a model that is itself an attention is called "".
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
    """Explain every call of every attention in `model` until the block ends.

    The weights are computed a second time for it, without gradients, whatever method the model
    itself uses; what the model returns is unchanged. What torch.compile has compiled runs
    uncompiled within the block. A layer that is computed a second time in the backward pass
    (activation checkpointing) is explained once. Decoding step by step calls no module's `forward`
    and is not seen.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.

    A model without attention gives an empty dictionary. With `at`, one query of each call is
    explained (`GeneralizedAttention.explain`).

    Raises:
        InputError: if no attention is found in a model with scripted, traced or exported parts,
            whose modules cannot be observed.
    """
    seen: dict[str, list[Explanation]] = {}
    attentions = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, GeneralizedAttention)
    ]
    if not attentions:
        _refuse_graphs(model)
    with ExitStack() as hooks:
        for name, module in attentions:
            seen[name] = []
            handle = module.register_forward_hook(_explain_into(seen[name], at), with_kwargs=True)
            hooks.callback(handle.remove)
        hooks.enter_context(torch.compiler.set_stance("force_eager"))  # compiled code has no hooks
        yield seen


def _refuse_graphs(model: nn.Module) -> None:
    """Refuse scripts and graphs, which compute attention without its modules."""
    graphs = (torch.jit.ScriptModule, torch.fx.GraphModule, torch.export.UnflattenedModule)
    for name, module in model.named_modules():
        if isinstance(module, graphs):
            expected = "a model of modules, with GeneralizedAttention among them"
            remedy = "capture the model that was scripted, traced or exported"
            raise InputError(name or "model", type(module).__name__, expected, remedy)


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
