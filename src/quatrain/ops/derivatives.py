"""Refuse derivatives that an operator does not have, with an error that names a remedy.

torch would silently drop the tangents of an operator's inputs, and its own errors about second
derivatives and `torch.func` name no remedy.

Source: Baydin et al. 2018, https://arxiv.org/abs/1502.05767, section 3.1, for the modes.
"""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch._C._functorch import (
    get_unwrapped,
    is_batchedtensor,
    is_functorch_wrapped_tensor,
    is_gradtrackingtensor,
)
from torch.autograd.forward_ad import unpack_dual
from torch.func import debug_unwrap

from quatrain.specs import InputError

USE_REFERENCE = 'set `method = "reference"` on the attention, or pass it to the call'
USE_GATHER = 'set `method = "gather"` on the convolution, or pass it to the call'
USE_REVERSE_MODE = "use reverse-mode derivatives, such as torch.func.vjp"

_SECOND = "second derivatives of this operator"
_KERNELS = ("ScaledDotProduct", "deform_conv2d")
"""Parts of the names of autograd nodes of torch's and torchvision's kernels."""


def refuse_transforms(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse inputs inside of a transform of `torch.func`, forward-mode AD or `torch.jit.trace`.

    Raises:
        InputError: if an input is wrapped by a transform or has a tangent, or a trace runs.
    """
    refuse_tangents(inputs, remedy)
    if torch.compiler.is_compiling():
        return
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        raise InputError(
            "method",
            "a custom operator",
            "operations of torch alone within torch.jit.trace",
            f"{remedy}, or use torch.export.export",
        )
    if any(x is not None and debug_unwrap(x) is not x for x in inputs):
        raise InputError(
            "input",
            "a tensor within torch.func",
            "a plain tensor, since this method has no rule for grad, vmap and the like",
            f"{remedy}; torch.autograd serves any method",
        )


def refuse_tangents(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse forward-mode AD, by `torch.func.jvp` or `forward_ad`.

    Raises:
        InputError: if an input has a tangent.
    """
    if torch.compiler.is_compiling():
        return
    if any(x is not None and unpack_dual(x).tangent is not None for x in inputs):
        raise InputError(
            "input",
            "a dual tensor, as torch.func.jvp makes them",
            "a plain tensor, since this method has reverse-mode gradients only",
            remedy,
        )


def refuse_nested_transforms(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse second derivatives by `torch.func`, as in `grad(grad(...))` and `hessian`.

    Raises:
        InputError: if an input is differentiated by two transforms, or has a tangent.
    """
    if torch.compiler.is_compiling():
        return
    if any(x is not None and _differentiation_level(x) > 1 for x in inputs):
        raise InputError(_SECOND, "requested", "a method that has them", remedy)
    refuse_tangents(inputs, remedy)


def refuse_vmap(inputs: Sequence[Tensor | None]) -> None:
    """Refuse `torch.func.vmap`, and functions built on it, such as `jacfwd`.

    Raises:
        InputError: if an input is mapped over.
    """
    if torch.compiler.is_compiling():
        return
    for x in inputs:
        if x is not None and any(map(is_batchedtensor, _levels(x))):
            expected = "a plain tensor, since this operator has no rule for vmap"
            remedy = "make the mapped axis part of the batch"
            raise InputError("input", "a tensor within torch.func.vmap", expected, remedy)


def _differentiation_level(x: Tensor) -> int:
    return sum(map(is_gradtrackingtensor, _levels(x)))


def _levels(x: Tensor) -> Iterator[Tensor]:
    """A tensor with its `torch.func` wrappers removed one by one."""
    while is_functorch_wrapped_tensor(x):
        yield x
        x = get_unwrapped(x)


def refuse_second_derivatives(grads: Sequence[Tensor | None], remedy: str) -> None:
    """Make gradients raise an `InputError` when they are differentiated again.

    Computing them with `create_graph=True` is no error, since another part of the network may
    need that.
    """

    def refuse(_: Tensor) -> Tensor:
        raise InputError(_SECOND, "requested", "a method that has them", remedy)

    for grad in grads:
        if grad is not None and grad.requires_grad:
            grad.register_hook(refuse)


def refuse_kernel_second_derivatives(output: Tensor, remedy: str) -> None:
    """`refuse_second_derivatives` for a kernel of torch or torchvision, given its output.

    Where torch fell back to the formula, which has all derivatives, nothing is refused.
    """
    if torch.compiler.is_compiling():
        return
    node = output.grad_fn
    if node is not None and any(name in node.name() for name in _KERNELS):
        node.register_hook(lambda grads, _: refuse_second_derivatives(grads, remedy))
