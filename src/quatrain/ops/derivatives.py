"""Derivatives that an operator does not have: refused in a sentence, and never lost.

torch would leave the tangents of an operator's inputs behind without a word, and stop at gradients
of gradients, and within `torch.func`, in sentences that name no remedy.

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

REFERENCE = 'set `method = "reference"` on the attention, or pass it to the call'
GATHER = 'set `method = "gather"` on the convolution, or pass it to the call'
REVERSE = "take derivatives in reverse mode, as torch.func.vjp does"

_SECOND = "second derivatives of this operator"
_KERNELS = ("ScaledDotProduct", "deform_conv2d")
"""In the names of the gradients of torch's and torchvision's kernels."""


def refuse_transforms(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse to go on within a transform of `torch.func`, or a trace, that an operator cannot join.

    Raises:
        InputError: if an input is a transform's, or has a tangent, or `torch.jit.trace` runs.
    """
    refuse_tangents(inputs, remedy)
    if torch.compiler.is_compiling():
        return
    if torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        raise InputError(
            "method",
            "an operator of our own",
            "operations of torch alone within torch.jit.trace",
            f"{remedy}, or use torch.export.export",
        )
    if any(each is not None and debug_unwrap(each) is not each for each in inputs):
        raise InputError(
            "input",
            "a tensor within torch.func",
            "a plain tensor, since this method has no rule for grad, vmap and the like",
            f"{remedy}; torch.autograd serves any method",
        )


def refuse_tangents(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse to go on where `torch.func.jvp` or `forward_ad` asks for derivatives.

    Raises:
        InputError: if an input has a tangent.
    """
    if torch.compiler.is_compiling():
        return
    if any(each is not None and unpack_dual(each).tangent is not None for each in inputs):
        raise InputError(
            "input",
            "a dual tensor, as torch.func.jvp makes them",
            "a plain tensor, since this method has gradients in reverse mode only",
            remedy,
        )


def refuse_nested_transforms(inputs: Sequence[Tensor | None], remedy: str) -> None:
    """Refuse derivatives of derivatives by `torch.func`, as in `grad(grad(...))` and `hessian`.

    Raises:
        InputError: if an input is differentiated by two transforms, or has a tangent.
    """
    if torch.compiler.is_compiling():
        return
    if any(each is not None and _differentiated(each) > 1 for each in inputs):
        raise InputError(_SECOND, "requested", "a method that has them", remedy)
    refuse_tangents(inputs, remedy)


def refuse_vmap(inputs: Sequence[Tensor | None]) -> None:
    """Refuse `torch.func.vmap`, and what is made of it, such as `jacfwd`.

    Raises:
        InputError: if an input is mapped over.
    """
    if torch.compiler.is_compiling():
        return
    for each in inputs:
        if each is not None and any(map(is_batchedtensor, _levels(each))):
            expected = "a plain tensor, since this operator has no rule for vmap"
            remedy = "make the mapped axis part of the batch"
            raise InputError("input", "a tensor within torch.func.vmap", expected, remedy)


def _differentiated(x: Tensor) -> int:
    return sum(map(is_gradtrackingtensor, _levels(x)))


def _levels(x: Tensor) -> Iterator[Tensor]:
    """A tensor as each transform of `torch.func` around it sees it, from the innermost."""
    while is_functorch_wrapped_tensor(x):
        yield x
        x = get_unwrapped(x)


def refuse_second_derivatives(gradients: Sequence[Tensor | None], remedy: str) -> None:
    """Let gradients raise an `InputError` when they are differentiated again.

    They are not where `create_graph=True` was asked for the sake of another part of a network.
    """

    def refuse(_: Tensor) -> Tensor:
        raise InputError(_SECOND, "requested", "a method that has them", remedy)

    for each in gradients:
        if each is not None and each.requires_grad:
            each.register_hook(refuse)


def refuse_second_derivatives_of(output: Tensor, remedy: str) -> None:
    """The same of the gradients that a kernel of torch or torchvision gives for its inputs.

    The formula, which torch takes where its kernels do not serve, has all derivatives.
    """
    if torch.compiler.is_compiling():
        return
    node = output.grad_fn
    if node is not None and any(name in node.name() for name in _KERNELS):
        node.register_hook(lambda gradients, _: refuse_second_derivatives(gradients, remedy))
