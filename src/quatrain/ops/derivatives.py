"""Derivatives that an operator does not have: refused in a sentence, and never lost.

torch would leave the tangents of an operator's inputs behind without a word, and stop at gradients
of gradients, and within `torch.func`, in sentences that name no remedy.

Source: Baydin et al. 2018, https://arxiv.org/abs/1502.05767, section 3.1, for the modes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd.forward_ad import unpack_dual
from torch.func import debug_unwrap

from quatrain.specs import InputError

REFERENCE = 'set `method = "reference"` on the attention, or pass it to the call'
GATHER = 'set `method = "gather"` on the convolution, or pass it to the call'
REVERSE = "take derivatives in reverse mode, as torch.func.vjp does"

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
            "an input",
            "a tensor within torch.func",
            "none, since this method has no rule for grad, vmap and the like",
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
            "an input",
            "a dual tensor, as torch.func.jvp makes them",
            "none, since this method has gradients in reverse mode only",
            remedy,
        )


def refuse_second_derivatives(gradients: Sequence[Tensor | None], remedy: str) -> None:
    """Let gradients raise an `InputError` when they are differentiated again.

    They are not where `create_graph=True` was asked for the sake of another part of a network.
    """

    def refuse(_: Tensor) -> Tensor:
        raise InputError(
            "method", "one whose gradients are final", "one with second derivatives", remedy
        )

    for each in gradients:
        if each is not None and each.requires_grad:
            each.register_hook(refuse)


def refuse_second_derivatives_of(output: Tensor, remedy: str) -> None:
    """The same of the gradients that a kernel of torch or torchvision gives for its inputs.

    The formula, which torch takes where its kernels do not serve, has all derivatives.
    """
    node = output.grad_fn
    if torch.compiler.is_compiling() or node is None:
        return
    if any(name in node.name() for name in _KERNELS):
        node.register_hook(lambda gradients, _: refuse_second_derivatives(gradients, remedy))
