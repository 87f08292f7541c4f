"""An attention as a custom operator of torch, opaque to compilers, with one for its gradients.

Source: our own.
"""

from collections.abc import Callable, Collection, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from quatrain.ops.derivatives import USE_REFERENCE, check_second_derivatives

Arguments = Sequence[Any]
"""Tensors, lists of tensors, numbers and None, in the order of an operator's schema."""


def register_operator(
    name: str,
    arguments: str,
    *,
    forward: Callable[..., Any],
    fake: Callable[..., Any],
    backward: Callable[..., list[Tensor]],
    differentiable: Collection[int],
    outputs: int = 1,
    tags: tuple[torch.Tag, ...] = (),
) -> Callable[..., Any]:
    """Register and return an operator whose first output has gradients.

    `arguments` is the schema of its arguments, `fake` makes outputs without their content, and
    `differentiable` are the indices of arguments with gradients: tensors, None, or lists of them.
    `backward` returns these gradients without those of None, from the gradient of the first output,
    a list of all outputs, and the arguments.
    """
    schema = f"({arguments}) -> ({', '.join(['Tensor'] * outputs)})"
    operator = torch.library.custom_op(name, forward, mutates_args=(), schema=schema, tags=tags)
    operator.register_fake(fake)

    schema = f"(Tensor grad_output, Tensor[] results, {arguments}) -> Tensor[]"
    backward_operator = torch.library.custom_op(
        f"{name}_backward", backward, mutates_args=(), schema=schema, tags=tags
    )

    @backward_operator.register_fake
    def _(grad_output: Tensor, results: list[Tensor], *inputs: Any) -> list[Tensor]:
        del grad_output, results
        tensors = tree_leaves([inputs[index] for index in differentiable])
        return [x.new_empty(x.shape) for x in tensors if x is not None]

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        results = (output,) if outputs == 1 else output
        leaves, ctx.structure = tree_flatten(inputs)
        ctx.save_for_backward(*results, *(x if isinstance(x, Tensor) else None for x in leaves))
        ctx.others = [None if isinstance(x, Tensor) else x for x in leaves]
        ctx.mark_non_differentiable(*results[1:])
        ctx.set_materialize_grads(False)

    def compute_grads(ctx: Any, grad_output: Tensor | None, *_: None) -> tuple[Any, ...]:
        results, tensors = ctx.saved_tensors[:outputs], ctx.saved_tensors[outputs:]
        leaves = [y if x is None else x for x, y in zip(tensors, ctx.others, strict=True)]
        inputs = tree_unflatten(leaves, ctx.structure)
        if grad_output is None:
            return (None,) * len(inputs)
        grads = backward_operator(grad_output.contiguous(), list(results), *inputs)
        check_second_derivatives(grads, USE_REFERENCE)
        remaining = iter(grads)
        return tuple(
            tree_map(lambda y: None if y is None else next(remaining), x)
            if index in differentiable
            else None
            for index, x in enumerate(inputs)
        )

    operator.register_autograd(compute_grads, setup_context=setup_context)
    return operator
