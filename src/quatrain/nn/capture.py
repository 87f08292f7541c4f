"""Watch the attentions inside a bigger model: their weights, and the logits of each of their terms.

    with capture(translator) as seen:
        translator(source, target)
    seen["encoder.0.self_attention.mixer"][0].weights    # (B, h, Q, K), of the first call

The names are those of `model.named_modules()`; a model that is itself an attention is called "".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from quatrain.nn.attention_state import Explanation
from quatrain.nn.generalized_attention import GeneralizedAttention


@contextmanager
def capture(model: nn.Module) -> Iterator[dict[str, list[Explanation]]]:
    """Explain every call of every attention in `model` until the block ends.

    The weights are computed a second time for it, without gradients, whatever method the model
    itself uses; what the model returns is unchanged. Decoding step by step calls no module's
    `forward` and is not seen.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equations 2 and 8.
    """
    seen: dict[str, list[Explanation]] = {}
    attentions = [
        (name, module)
        for name, module in model.named_modules()
        if isinstance(module, GeneralizedAttention)
    ]
    hooks = []
    try:
        for name, module in attentions:
            seen[name] = []
            hook = _explain_into(seen[name])
            hooks.append(module.register_forward_hook(hook, with_kwargs=True))
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _explain_into(calls: list[Explanation]) -> Any:
    def hook(
        module: GeneralizedAttention, inputs: tuple[Any, ...], named: dict[str, Any], _: Tensor
    ) -> None:
        shown = {name: value for name, value in named.items() if name != "method"}
        with torch.no_grad():
            calls.append(module.explain(*inputs, **shown))

    return hook
