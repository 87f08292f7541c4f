"""A base class of differentiable functions, and checks for derivatives that an operator lacks.

Without the checks torch would silently drop the tangents of an operator's inputs, and its own
errors about second derivatives and `torch.func` name no remedy.

Source: Baydin et al. 2018, https://arxiv.org/abs/1502.05767, section 3.1, for the modes.
"""

import sys
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

from quatrain.specs import InputError

USE_REFERENCE = 'set `method = "reference"` on the attention, or pass it to the call'
USE_GATHER = 'set `method = "gather"` on the convolution, or pass it to the call'
USE_REVERSE_MODE = "use reverse-mode derivatives, such as torch.func.vjp"
ANY_ORDER = sys.maxsize

_KERNELS = ("ScaledDotProduct", "deform_conv2d", "DeformConv2d")
"""Parts of the names of autograd nodes of torch's and torchvision's kernels, old and new."""


class SavingInputs(torch.autograd.Function):
    """A function whose backward pass needs its inputs."""

    @staticmethod
    def setup_context(ctx, inputs, output):  # noqa: ANN001, ANN205 - autograd's signature
        """Save the tensors among the inputs."""
        del output
        ctx.save_for_backward(*(x for x in inputs if isinstance(x, Tensor)))


def check_transforms(
    inputs: Sequence[Tensor | None], remedy: str, *, order: int = 0, vmap: bool = False
) -> None:
    """Check that no input is in forward-mode AD, or in a transform that its operator lacks.

    `order` is how many derivatives by `torch.func.grad` it has, and `vmap` whether it has a rule
    for `torch.func.vmap`. A custom operator has none, and no `torch.jit.trace` either.
    """
    if torch.compiler.is_compiling():
        return
    tensors = [x for x in inputs if x is not None]
    if any(unpack_dual(x).tangent is not None for x in tensors):
        message = "the method has no derivatives of a dual tensor, as torch.func.jvp makes them"
        raise InputError(f"{message}; {remedy}", "input")
    if order == 0 and torch.jit.is_tracing():  # pyright: ignore[reportPrivateImportUsage]
        message = "torch.jit.trace does not record a custom operator"
        raise InputError(f"{message}; {remedy}, or use torch.export.export", "method")
    for x in tensors:
        wrappers = list(_wrappers(x))
        if not vmap and order > 0 and any(map(is_batchedtensor, wrappers)):
            message = "the operator has no rule for torch.func.vmap"
            raise InputError(f"{message}; make the mapped axis part of the batch", "input")
        if wrappers and order == 0:
            message = "the method has no rules for grad, vmap and the like of torch.func"
            raise InputError(f"{message}; {remedy}, or use torch.autograd", "input")
        if sum(map(is_gradtrackingtensor, wrappers)) > order:
            raise _no_second_derivatives(remedy)


def _wrappers(x: Tensor) -> Iterator[Tensor]:
    """A tensor with its `torch.func` wrappers removed one by one."""
    while is_functorch_wrapped_tensor(x):
        yield x
        x = get_unwrapped(x)


def _no_second_derivatives(remedy: str) -> InputError:
    return InputError(f"the method has no second derivatives; {remedy}", "method")


def check_second_derivatives(grads: Sequence[Tensor | None], remedy: str) -> None:
    """Make gradients raise an `InputError` when they are differentiated again.

    Computing them with `create_graph=True` is no error, since another part of the network may
    need that.
    """

    def raise_error(_: Tensor | None) -> Tensor:
        raise _no_second_derivatives(remedy)

    for grad in grads:
        if grad is not None and grad.requires_grad:
            grad.register_hook(raise_error)


def check_kernel_second_derivatives(output: Tensor, remedy: str) -> None:
    """`check_second_derivatives` for a kernel of torch or torchvision, from its output.

    Where torch fell back to the formula, which has all derivatives, none raises an error.
    """
    if torch.compiler.is_compiling():
        return
    node = output.grad_fn
    if node is not None and any(name in node.name() for name in _KERNELS):
        node.register_hook(lambda grads, _: check_second_derivatives(grads, remedy))
