"""Multiply-adds of operators that torch's FLOP counter has no formula for.

A formula takes the shapes of an operator's tensors in the order of its arguments, and the shape of
the output as `out_shape`, as those of `torch.utils.flop_counter` do; it returns multiply-adds.

A recurrent layer multiplies each of its matrices with every token once. Distances have one
multiply-add for each pair and channel. Interpolation and embedding bags are gathers and count zero;
our sampled sum counts its weights alone, one multiply-add for each channel of a sample. With the
method "reference", whose weights are part of the interpolation in an embedding bag, it counts zero:
products of their own would store all samples.
"""

import functools
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import prod
from typing import Any

import torch

from quatrain.ops.attention.triton import operator as triton_operator  # noqa: F401 - it registers
from quatrain.ops.counts import block_totals
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import Term

Shape = tuple[int, ...]


def formulas() -> dict[Any, Callable[..., int]]:
    """The FLOP formula of each operator that this version of torch has."""
    # torchvision registers its operators; it takes two seconds, so only counting imports it.
    with suppress(ModuleNotFoundError):
        import torchvision  # noqa: F401

    by_operator: dict[Any, Callable[..., int]] = {}
    for names, multiply_adds in _MULTIPLY_ADDS.items():
        for name in names.split():
            library, _, operator = name.rpartition("::")
            packet = getattr(getattr(torch.ops, library or "aten"), operator, None)
            if packet is not None:
                by_operator[packet] = functools.partial(_flops, multiply_adds)
    return by_operator


def _flops(multiply_adds: Callable[..., int], *shapes: Any, **named: Any) -> int:
    return 2 * multiply_adds(*shapes, **named)


def _convolution(x: Shape, weight: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    del x
    return prod(out_shape) * prod(weight[1:])


def _grouped_product(left: Shape, right: Shape, *_: object, **__: object) -> int:
    """Groups divide the rows, the columns, the summed axis, or none of them."""
    groups = left[0] if len(left) == 3 and len(right) == 2 else 1
    return prod(left) * right[-1] // groups


def _recurrent(x: Shape, weights: Sequence[Shape], *_: object, **__: object) -> int:
    return prod(x[:-1]) * sum(prod(weight) for weight in weights if len(weight) == 2)


def _trilinear(*arguments: Any, **_: object) -> int:
    """The product of the first two, summed over axes that the third lacks, times the third."""
    shapes, expanded, summed = arguments[:3], arguments[3:6], arguments[6]
    axes = range(len(shapes[0]) + len(expanded[0]))
    sizes: dict[int, int] = {}
    for shape, missing in zip(shapes, expanded, strict=True):
        present = [axis for axis in axes if axis not in missing]
        sizes |= dict(zip(present, shape, strict=True))
    pair = set(axes) - (set(expanded[0]) & set(expanded[1]))
    remaining = set(axes) - (set(summed) & set(expanded[2]))
    return sum(prod(sizes[axis] for axis in part) for part in (pair, remaining))


def _blockwise_attention(*arguments: Any, **_: object) -> int:
    """Our attention by blocks of queries, a custom operator."""
    value, query, _key, _key_logits, position_query, attend_mask, *others = arguments
    (
        _relative,
        _joint_table,
        queries,
        keys,
        key_stride,
        first_query,
        causal,
        window,
        _has_key_padding,
        _null_key,
        factored,
    ) = others
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    totals = block_totals(grid, Structure(causal, window, has_attn_mask=attend_mask is not None))
    if factored:
        products = (totals.pairs + totals.row_sums) * (value[-1] + 1)
    else:
        products = totals.pairs * (value[-1] + (0 if query is None else query[-1]))
    if position_query is not None:
        shared = position_query[2] == 1 < prod(queries)
        counted = totals.relative_positions if shared else totals.query_relative_positions
        products += counted * position_query[-1]
    return prod(value[:2]) * products


def _triton_attention(*arguments: Any, **_: object) -> int:
    """Our attention by Triton kernels, a custom operator."""
    value, _query, key, _content_vector, _position_vector, row_encoding, *others = arguments
    column_encoding, _padding, terms, _scale, sizes, window, axial = others
    enabled, (height, width, key_rows, key_columns, stride) = Term(terms), sizes
    batch, heads, _, channels = value
    rows, columns = (height, width) if axial else (height * width, height * width)
    products = rows * prod(row_encoding) + columns * prod(column_encoding)
    products *= batch if enabled.has(Term.QUERY_POSITION) else 1
    if key is not None and not enabled.has(Term.QUERY_KEY):
        products += prod(key)
    if axial:
        pairs = width * key_rows * key_columns + width * height * key_rows
    else:
        structure = Structure(window=window)
        grid = Grid((height, width), (key_rows, key_columns), stride)
        ranges = (structure.key_range(grid, 0, row, row) for row in range(height))
        pairs = sum(map(len, ranges)) * width * key_columns
    if key is not None and enabled.has(Term.QUERY_KEY):
        channels += key[-1]
    return products + batch * heads * pairs * channels


_MULTIPLY_ADDS: dict[str, Callable[..., int]] = {
    "dot vdot mv": lambda left, *_, **__: prod(left),
    "addmv addmv_": lambda bias, matrix, *_, **__: prod(matrix),  # noqa: ARG005
    "addr addr_": lambda bias, left, right, *_, **__: prod(left) * prod(right),  # noqa: ARG005
    "_int_mm _scaled_mm_v2": lambda left, right, *_, **__: prod(left) * right[-1],
    "addmm_ baddbmm_ addbmm addbmm_ _addmm_activation": (
        lambda bias, left, right, *_, **__: prod(left) * right[-1]  # noqa: ARG005
    ),
    "_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2": _grouped_product,
    """mkldnn_linear mkldnn::_linear_pointwise mkl::_mkl_linear _weight_int8pack_mm
    _weight_int4pack_mm _weight_int4pack_mm_for_cpu quantized::linear quantized::linear_relu
    quantized::linear_dynamic quantized::linear_relu_dynamic quantized::linear_dynamic_fp16
    quantized::linear_relu_dynamic_fp16""": (
        lambda x, *_, out_shape, **__: prod(x) * out_shape[-1]
    ),
    """mkldnn_convolution mkldnn::_convolution_pointwise _conv_depthwise2d conv_depthwise3d
    slow_conv3d_forward slow_conv_dilated2d slow_conv_dilated3d cudnn_convolution_relu
    miopen_convolution miopen_convolution_relu miopen_depthwise_convolution _mps_convolution
    _nnpack_spatial_convolution torchvision::deform_conv2d""": _convolution,
    """cudnn_convolution_transpose miopen_convolution_transpose slow_conv_transpose2d
    slow_conv_transpose3d mkldnn::_convolution_transpose_pointwise""": (
        lambda x, weight, *_, **__: prod(x) * prod(weight[1:])
    ),
    "conv_tbc": (
        lambda x, weight, *_, out_shape, **__: prod(out_shape) * prod(weight[:-1])  # noqa: ARG005
    ),
    "mkldnn_rnn_layer": (
        lambda x, input_weight, hidden_weight, *_, **__: (
            prod(x[:-1]) * (prod(input_weight) + prod(hidden_weight))
        )
    ),
    "_cudnn_rnn miopen_rnn": _recurrent,
    "_trilinear": _trilinear,
    "_cdist_forward _euclidean_dist": lambda x, y, *_, **__: prod(x) * y[-2],
    "_pdist_forward": lambda x, *_, out_shape, **__: prod(out_shape) * x[-1],
    """_scaled_dot_product_flash_attention _scaled_dot_product_cudnn_attention
    _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention_for_cpu
    _scaled_dot_product_fused_attention_overrideable""": (  # queries may share heads of keys
        lambda query, key, value, *_, **__: prod(query[:-1]) * key[-2] * (query[-1] + value[-1])
    ),
    "quatrain::blockwise_attention": _blockwise_attention,
    "quatrain::triton_attention": _triton_attention,
    "quatrain::sampled_sum": (
        lambda value, _positions, weights, *_, **__: prod(weights) * value[-1]
    ),
}
"""Formulas by the names of operators; names without a library are in "aten"."""
