"""Attention with relative positions on a map as one custom operator of Triton kernels.

Compilers do not look into it, and it has gradients of its own (`forward_backward`). Triton compiles
its kernels at the first call, and is imported then: without it, everything else still works.

Shapes: b batch, h heads, q queries, e width of a value.
"""

import functools
import importlib.util
import subprocess
import warnings
from dataclasses import fields
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.custom_operator import Arguments, register_operator
from quatrain.ops.attention.triton import forward_backward
from quatrain.ops.attention.triton.forward_backward import AttentionOutput
from quatrain.ops.attention.triton.position_bias import AttentionCall
from quatrain.ops.compilation import assume_constant_result
from quatrain.ops.derivatives import USE_REFERENCE, check_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.terms import AttentionInputs, Operands
from quatrain.specs import InputError, SpecError, Term

MAX_HEAD_WIDTH = 128
"""The width of keys and values of a head up to which tiles fit a GPU's shared memory."""


@assume_constant_result
def is_available() -> bool:
    """Whether Triton is installed and, where there are GPUs, works on all of them.

    It works on NVIDIA GPUs from compute capability 8.0 on, if it finds a C compiler. For AMD GPUs
    the kernels were never compiled.
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


def triton_attention(inputs: AttentionInputs, *, axial: bool = False) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    `axial` computes the softmax of each row of keys, and then of each column of queries, for terms
    without the query's content.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    terms, operands, grid = inputs.terms, inputs.operands, inputs.grid
    padding = inputs.support.padding(grid, inputs.value.shape[0])
    tensors = (
        operands.value,
        operands.query if terms.use_query else None,
        operands.key if terms.use_content else None,
        operands.content_vector if terms.has(Term.KEY) else None,
        operands.position_vector if terms.has(Term.POSITION) else None,
        *operands.relative,
    )
    check_transforms(tensors, USE_REFERENCE)
    # The kernels would read wrong memory.
    if axial and terms.use_query:
        raise SpecError(f'axial=True does not fit the terms "{terms}"; leave it out', "axial")
    devices = sorted({str(x.device) for x in (*tensors, padding) if x is not None})
    if len(devices) > 1:
        names = " and ".join(devices)
        message = f"the operands and masks are on {names}; move them to one device"
        raise InputError(message, "operands")
    sizes = [*grid.queries, *grid.keys, grid.key_stride]
    rest = (terms.value, operands.scale, sizes, inputs.support.window, axial)
    return _triton_attention(*tensors, padding, *rest)[0]


def _parse(arguments: Arguments) -> tuple[AttentionCall, Tensor | None]:
    """The call and its padding, from the operator's arguments; all tensors become contiguous."""
    tensors, rest = arguments[:8], arguments[8:]
    terms, scale, (height, width, rows, columns, stride), window, axial = rest
    contiguous: list[Any] = [None if x is None else x.contiguous() for x in tensors]
    *single, row_encoding, column_encoding, padding = contiguous
    operands = Operands(*single, relative=(row_encoding, column_encoding), scale=scale)
    grid = Grid((height, width), (rows, columns), stride)
    return AttentionCall(Term(terms), operands, grid, window, axial), padding


def _forward(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _parse(arguments)
    with torch.cuda.device_of(call.operands.value):
        return _without_none(forward_backward.forward(call, padding))


def _fake(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _parse(arguments)
    return _without_none(forward_backward.empty_output(call, padded=padding is not None))


def _without_none(result: AttentionOutput) -> tuple[Tensor, ...]:
    """The fields, with an empty vector for each None."""
    return tuple(result.output.new_empty(0) if x is None else x for x in vars(result).values())


def _backward(grad_output: Tensor, results: list[Tensor], *arguments: Any) -> list[Tensor]:
    outputs: list[Any] = [x if x.ndim > 1 else None for x in results]
    call, _ = _parse(arguments)
    with torch.cuda.device_of(grad_output):
        grads = forward_backward.backward(call, AttentionOutput(*outputs), grad_output)
    single = (grads.value, grads.query, grads.key, grads.content_vector, grads.position_vector)
    return [x for x in (*single, *grads.relative) if x is not None]


_triton_attention = register_operator(
    "quatrain::triton_attention",
    """Tensor value, Tensor? query, Tensor? key, Tensor? content_vector, Tensor? position_vector,
    Tensor row_encoding, Tensor column_encoding, Tensor? padding, int terms, float scale,
    SymInt[] sizes, SymInt? window, bool axial""",
    forward=_forward,
    fake=_fake,
    backward=_backward,
    differentiable=range(7),
    outputs=len(fields(AttentionOutput)),
)
"""It returns the output, and the intermediate results that its gradients need."""
