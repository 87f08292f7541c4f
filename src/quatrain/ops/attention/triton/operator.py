"""Attention with relative positions on a map as one custom operator of Triton kernels.

Compilers do not look into it, and it has gradients of its own (`forward_backward`). Triton compiles
its kernels at the first call, and is imported then: without it, everything else still works.

Shapes: b batch, h heads, q queries, e width of a value.
"""

import functools
import importlib.util
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.triton import forward_backward
from quatrain.ops.attention.triton.forward_backward import AttentionOutput
from quatrain.ops.attention.triton.position_bias import AttentionCall
from quatrain.ops.derivatives import USE_REFERENCE, refuse_second_derivatives, refuse_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import InputError, SpecError, Term

MAX_HEAD_WIDTH = 128
"""The width of keys and values of a head up to which tiles fit a GPU's shared memory."""


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether Triton is installed and, where there are GPUs, serves all of them.

    It serves NVIDIA GPUs from compute capability 8.0 on, if it finds a C compiler. For AMD GPUs the
    kernels were never compiled.
    """
    return _is_available()


@functools.cache
def _is_available() -> bool:
    if importlib.util.find_spec("triton") is None or torch.version.hip is not None:
        return False
    if not torch.cuda.is_available():
        return True
    devices = range(torch.cuda.device_count())
    if any(torch.cuda.get_device_capability(device) < (8, 0) for device in devices):
        return False
    import triton

    try:
        triton.runtime.driver.active.get_current_target()
    except (ImportError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
        warnings.warn(
            f"Triton does not start ({error}). Attention with positions on maps uses torch's "
            "kernel instead, with more multiply-adds. Install a C compiler if there is none.",
            stacklevel=2,
        )
        return False
    return True


def triton_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support, *, axial: bool = False
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    `axial` computes the softmax of each row of keys, and then of each column of queries, which
    serves terms without the query's content.

    Raises:
        InputError: if the operands are on several devices, or a padding mask does not fit.
        SpecError: if `axial` is set for terms with the query's content.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    padding = support.padding(grid, operands.value.shape[0])
    tensors = (
        operands.value,
        operands.query if terms.use_query else None,
        operands.key if terms.use_content else None,
        operands.key_bias if terms.has(Term.KEY) else None,
        operands.position_bias if terms.has(Term.POSITION) else None,
        *operands.relative,
    )
    refuse_transforms(tensors, USE_REFERENCE)
    _check(terms, axial, tensors, padding)
    output, *_ = _triton_attention(
        *tensors,
        padding,
        terms.value,
        operands.scale,
        [*grid.queries, *grid.keys, grid.key_stride],
        support.window,
        axial,
    )
    return output


def _check(
    terms: Term, axial: bool, tensors: tuple[Tensor | None, ...], padding: Tensor | None
) -> None:
    """Refuse arguments for which the kernels would read wrong memory."""
    if axial and terms.use_query:
        raise SpecError("axial", axial, f'False for the terms "{terms}"', "leave it out")
    devices = {str(x.device) for x in (*tensors, padding) if x is not None}
    if len(devices) > 1:
        raise InputError(
            "operands",
            "on " + " and ".join(sorted(devices)),
            "on one device, masks included",
            "move them to one device",
        )


_ARGUMENTS = """
    Tensor value, Tensor? query, Tensor? key, Tensor? key_bias, Tensor? position_bias,
    Tensor row_encoding, Tensor column_encoding, Tensor? padding, int terms, float scale,
    SymInt[] sizes, SymInt? window, bool axial
"""
_OPERANDS = 7
"""The first arguments are this many tensors with gradients, or None."""
_OUTPUTS = len(fields(AttentionOutput))
"""The operator returns the output, and the intermediate results that its gradients need."""
_OUTPUT_ARGUMENTS = ", ".join(f"Tensor {field.name}_" for field in fields(AttentionOutput))


def _parse(arguments: Sequence[Any]) -> tuple[AttentionCall, Tensor | None]:
    """The call and its padding, from the order of `_ARGUMENTS`."""
    tensors, rest = arguments[: _OPERANDS + 1], arguments[_OPERANDS + 1 :]
    terms, scale, (height, width, rows, columns, stride), window, axial = rest
    contiguous: list[Any] = [None if x is None else x.contiguous() for x in tensors]
    *single, row_encoding, column_encoding, padding = contiguous
    operands = Operands(*single, relative=(row_encoding, column_encoding), scale=scale)
    grid = Grid((height, width), (rows, columns), stride)
    return AttentionCall(Term(terms), operands, grid, window, axial), padding


@torch.library.custom_op(
    "quatrain::triton_attention",
    mutates_args=(),
    schema=f"({_ARGUMENTS}) -> ({', '.join(['Tensor'] * _OUTPUTS)})",
)
def _triton_attention(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _parse(arguments)
    value = call.operands.value
    with torch.cuda.device_of(value):
        return _without_none(forward_backward.forward(call, padding))


@_triton_attention.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _parse(arguments)
    return _without_none(forward_backward.empty_output(call, padded=padding is not None))


def _without_none(result: AttentionOutput) -> tuple[Tensor, ...]:
    """The fields, with an empty vector for each None."""
    return tuple(result.output.new_empty(0) if x is None else x for x in vars(result).values())


@torch.library.custom_op(
    "quatrain::triton_attention_backward",
    mutates_args=(),
    schema=f"(Tensor grad_output, {_OUTPUT_ARGUMENTS}, {_ARGUMENTS}) -> Tensor[]",
)
def _triton_attention_backward(grad_output: Tensor, *arguments: Any) -> list[Tensor]:
    results: list[Any] = [x if x.ndim > 1 else None for x in arguments[:_OUTPUTS]]
    call, _ = _parse(arguments[_OUTPUTS:])
    with torch.cuda.device_of(grad_output):
        grads = forward_backward.backward(call, AttentionOutput(*results), grad_output.contiguous())
    single = (grads.value, grads.query, grads.key, grads.key_bias, grads.position_bias)
    return [x for x in (*single, *grads.relative) if x is not None]


@_triton_attention_backward.register_fake
def _(grad_output: Tensor, *arguments: Any) -> list[Tensor]:
    del grad_output
    operands = arguments[_OUTPUTS : _OUTPUTS + _OPERANDS]
    return [x.new_empty(x.shape) for x in operands if x is not None]


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output, *inputs[: _OPERANDS + 1])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.rest = inputs[_OPERANDS + 1 :]


def _backward(ctx: Any, grad_output: Tensor | None, *_: None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    no_grads = (None,) * (1 + len(ctx.rest))
    if grad_output is None:
        return (*(None,) * _OPERANDS, *no_grads)
    grads = _triton_attention_backward(grad_output, *saved, *ctx.rest)
    refuse_second_derivatives(grads, USE_REFERENCE)
    remaining = iter(grads)
    return (*(None if x is None else next(remaining) for x in saved[_OUTPUTS:-1]), *no_grads)


_triton_attention.register_autograd(_backward, setup_context=_setup_context)
