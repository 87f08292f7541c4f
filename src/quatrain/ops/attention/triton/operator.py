"""Attention with positions on a map by kernels of a GPU, as one operator.

Compilers do not look into it, and it has gradients of its own (`tiled`). Triton compiles its
kernels for the GPU, and is imported when it is first needed: where it is missing, nothing else is.

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

from quatrain.ops.attention.triton import forward_backward as tiled
from quatrain.ops.attention.triton.forward_backward import Made
from quatrain.ops.attention.triton.position_bias import Call
from quatrain.ops.derivatives import REFERENCE, refuse_second_derivatives, refuse_transforms
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.ops.terms import Operands
from quatrain.specs import InputError, SpecError, Term

MAX_HEAD_WIDTH = 128
"""The width of keys and values of a head up to which tiles fit a GPU's shared memory."""


@torch.compiler.assume_constant_result
def is_available() -> bool:
    """Whether Triton is installed and, where there are GPUs, serves all of them.

    It does for those of NVIDIA from compute capability 8.0 on, if it finds a C compiler. For those
    of AMD the kernels were never compiled.
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
            f"Triton does not start ({error}), so attention with positions on maps is left to "
            "torch's kernel, with more products; a C compiler may be missing.",
            stacklevel=2,
        )
        return False
    return True


def triton_attention(
    terms: Term, operands: Operands, grid: Grid, support: Support, *, axial: bool = False
) -> Float[Tensor, "b h q e"]:
    """The weighted sum of values of each query; zeros where its support is empty.

    `axial` takes rows of keys one by one, and then columns of queries, which serves where no
    query's content is asked.

    Raises:
        InputError: if the operands are on several devices, or a padding mask does not fit.
        SpecError: if lines are asked for where a query's content is.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, on a map; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    padding = support.padding(grid, operands.value.shape[0])
    factors = (
        operands.value,
        operands.query if terms.use_query else None,
        operands.key if terms.use_content else None,
        operands.key_bias if terms.has(Term.KEY) else None,
        operands.position_bias if terms.has(Term.POSITION) else None,
        *operands.relative,
    )
    refuse_transforms(factors, REFERENCE)
    _check(terms, axial, factors, padding)
    mixed, *_ = _attend(
        *factors,
        padding,
        terms.value,
        operands.scale,
        [*grid.queries, *grid.keys, grid.key_stride],
        support.window,
        axial,
    )
    return mixed


def _check(
    terms: Term, axial: bool, factors: tuple[Tensor | None, ...], padding: Tensor | None
) -> None:
    """Refuse what kernels would read without a word."""
    if axial and terms.use_query:
        raise SpecError("axial", axial, f'False for the terms "{terms}"', "leave it out")
    devices = {str(x.device) for x in (*factors, padding) if x is not None}
    if len(devices) > 1:
        raise InputError(
            "operands",
            "on " + " and ".join(sorted(devices)),
            "all on one device, with their masks",
            "move them there",
        )


_ARGUMENTS = """
    Tensor value, Tensor? query, Tensor? key, Tensor? key_bias, Tensor? position_bias,
    Tensor of_rows, Tensor of_columns, Tensor? padding, int terms, float scale, SymInt[] sizes,
    SymInt? window, bool axial
"""
_OPERANDS = 7
"""The first of them: tensors that have gradients, or None."""
_NAMED = ", ".join(f"Tensor {each.name}" for each in fields(Made))
_MADE = len(fields(Made))
"""What the operator gives back: the output, and what its gradients are made of."""


def _read(arguments: Sequence[Any]) -> tuple[Call, Tensor | None]:
    """The call, and what is padding, from the order of `_ARGUMENTS`."""
    tensors, rest = arguments[: _OPERANDS + 1], arguments[_OPERANDS + 1 :]
    terms, scale, (above, along, rows, columns, stride), window, lines = rest
    made: list[Any] = [None if x is None else x.contiguous() for x in tensors]
    *single, of_rows, of_columns, padding = made
    operands = Operands(*single, relative=(of_rows, of_columns), scale=scale)
    grid = Grid((above, along), (rows, columns), stride)
    return Call(Term(terms), operands, grid, window, lines), padding


@torch.library.custom_op(
    "quatrain::triton_attention",
    mutates_args=(),
    schema=f"({_ARGUMENTS}) -> ({', '.join(['Tensor'] * _MADE)})",
)
def _attend(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _read(arguments)
    value = call.operands.value
    with torch.cuda.device_of(value):
        return _with_empty(tiled.attend(call, padding))


@_attend.register_fake
def _(*arguments: Any) -> tuple[Tensor, ...]:
    call, padding = _read(arguments)
    return _with_empty(tiled.like(call, padded=padding is not None))


def _with_empty(made: Made) -> tuple[Tensor, ...]:
    """With a vector of no numbers for what is not there."""
    return tuple(made.mixed.new_empty(0) if x is None else x for x in vars(made).values())


@torch.library.custom_op(
    "quatrain::triton_attention_backward",
    mutates_args=(),
    schema=f"(Tensor given, {_NAMED}, {_ARGUMENTS}) -> Tensor[]",
)
def _gradients(given: Tensor, *arguments: Any) -> list[Tensor]:
    made: list[Any] = [x if x.ndim > 1 else None for x in arguments[:_MADE]]
    call, _ = _read(arguments[_MADE:])
    with torch.cuda.device_of(given):
        found = tiled.gradients_of(call, Made(*made), given.contiguous())
    single = (found.value, found.query, found.key, found.key_bias, found.position_bias)
    return [x for x in (*single, *found.relative) if x is not None]


@_gradients.register_fake
def _(given: Tensor, *arguments: Any) -> list[Tensor]:
    del given
    operands = arguments[_MADE : _MADE + _OPERANDS]
    return [x.new_empty(x.shape) for x in operands if x is not None]


def _remember(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    ctx.save_for_backward(*output, *inputs[: _OPERANDS + 1])
    ctx.mark_non_differentiable(*output[1:])
    ctx.set_materialize_grads(False)
    ctx.rest = inputs[_OPERANDS + 1 :]


def _backward(ctx: Any, given: Tensor | None, *_: None) -> tuple[Any, ...]:
    saved = ctx.saved_tensors
    none = (None,) * (1 + len(ctx.rest))
    if given is None:
        return (*(None,) * _OPERANDS, *none)
    gradients = _gradients(given, *saved, *ctx.rest)
    refuse_second_derivatives(gradients, REFERENCE)
    found = iter(gradients)
    return (*(None if x is None else next(found) for x in saved[_MADE:-1]), *none)


_attend.register_autograd(_backward, setup_context=_remember)
