"""FLOPs of operators that torch's own counter passes over: two for each multiply-add.

A formula takes the shapes of an operator's tensors in the order of its arguments, as those of
`torch.utils.flop_counter` do; `out_shape` is that of what it gives.

Recurrent layers: each matrix of a layer meets every token once. Distances: one multiply-add for
each pair and channel. Interpolation and embedding bags are gathers, and count nothing.
"""

import math
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import torch

from quatrain.ops.attention.triton import operator as tiles  # noqa: F401 - they register their operators
from quatrain.ops.counts import block_totals
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import Term

Shape = tuple[int, ...]


def formulas() -> dict[Any, Any]:
    """The formula of each operator that this version of torch has."""
    # It registers its operators, and takes two seconds, so only counting imports it.
    with suppress(ModuleNotFoundError):  # then no operator of torchvision can run
        import torchvision  # noqa: F401

    by_name = {name: formula for formula, names in _BY_FORMULA.items() for name in names.split()}
    by_operator: dict[Any, Any] = {}
    for name, formula in by_name.items():
        library, _, operator = name.rpartition("::")
        packet = getattr(getattr(torch.ops, library or "aten"), operator, None)
        if packet is not None:
            by_operator[packet] = formula
    return by_operator


def _dot_flops(left: Shape, right: Shape, *, out_shape: object = None) -> int:
    del right, out_shape
    return 2 * math.prod(left)


def _product_flops(
    left: Shape, right: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return 2 * math.prod(left) * right[-1]


def _added_product_flops(
    total: Shape, left: Shape, right: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del total
    return _product_flops(left, right, out_shape=out_shape)


def _outer_product_flops(
    total: Shape, left: Shape, right: Shape, *, out_shape: object = None, **__: object
) -> int:
    del total, out_shape
    return 2 * math.prod(left) * math.prod(right)


def _grouped_product_flops(
    left: Shape, right: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    """Rows, columns or the axis that is summed over are divided among the groups, or none is."""
    del out_shape
    shared = left[0] if len(left) == 3 and len(right) == 2 else 1
    return 2 * math.prod(left) * right[-1] // shared


def _matrix_vector_flops(matrix: Shape, vector: Shape, *, out_shape: object = None) -> int:
    del vector, out_shape
    return 2 * math.prod(matrix)


def _biased_matrix_vector_flops(
    bias: Shape, matrix: Shape, vector: Shape, *, out_shape: object = None, **__: object
) -> int:
    del bias, vector, out_shape
    return 2 * math.prod(matrix)


def _linear_flops(x: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    return 2 * math.prod(x) * out_shape[-1]


def _convolution_flops(x: Shape, weight: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    del x
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def _transposed_convolution_flops(
    x: Shape, weight: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return 2 * math.prod(x) * math.prod(weight[1:])


def _time_first_convolution_flops(
    x: Shape, weight: Shape, *_: object, out_shape: Shape, **__: object
) -> int:
    del x
    return 2 * math.prod(out_shape) * math.prod(weight[:-1])


def _recurrent_layer_flops(
    x: Shape, of_input: Shape, of_hidden: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return 2 * math.prod(x[:-1]) * (math.prod(of_input) + math.prod(of_hidden))


def _recurrent_flops(
    x: Shape, weights: Sequence[Shape], *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return 2 * math.prod(x[:-1]) * sum(math.prod(w) for w in weights if len(w) == 2)


def _trilinear_flops(
    first: Shape,
    second: Shape,
    third: Shape,
    expand1: Sequence[int],
    expand2: Sequence[int],
    expand3: Sequence[int],
    summed: Sequence[int],
    *_: object,
    out_shape: object = None,
    **__: object,
) -> int:
    """The product of the first two, summed where the third has no axis, times the third."""
    del out_shape
    sizes: dict[int, int] = {}
    axes = range(len(first) + len(expand1))
    for shape, missing in ((first, expand1), (second, expand2), (third, expand3)):
        present = [axis for axis in axes if axis not in missing]
        sizes |= dict(zip(present, shape, strict=True))
    pair = {axis for axis in axes if axis not in expand1 or axis not in expand2}
    remaining = set(axes) - (set(summed) & set(expand3))
    return 2 * sum(math.prod(sizes[axis] for axis in part) for part in (pair, remaining))


def _distance_flops(
    first: Shape, second: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return 2 * math.prod(first) * second[-2]


def _distances_within_flops(x: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    return 2 * math.prod(out_shape) * x[-1]


def _attention_flops(
    query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    """Heads of keys may be fewer than those of queries, which share them."""
    del out_shape
    return 2 * math.prod(query[:-1]) * key[-2] * (query[-1] + value[-1])


def blockwise_flops(
    value: Shape,
    query: Shape | None,
    key: Shape | None,
    key_logits: Shape | None,
    position_query: Shape | None,
    attend_mask: Shape | None,
    relative: Sequence[Shape],
    queries: Sequence[int],
    keys: Sequence[int],
    key_stride: int,
    first_query: int,
    causal: bool,
    window: int | None,
    has_key_padding: bool,
    factored: bool,
    *,
    out_shape: object = None,
) -> int:
    """FLOPs of our attention by blocks of queries, whose products the counter does not see."""
    del key, key_logits, relative, has_key_padding, out_shape
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    totals = block_totals(grid, Structure(causal, window, has_attn_mask=attend_mask is not None))
    if factored:
        products = (totals.pairs + totals.row_sums) * (value[-1] + 1)
    else:
        products = totals.pairs * (value[-1] + (0 if query is None else query[-1]))
    if position_query is not None:
        offsets = (
            totals.offsets if position_query[2] == 1 < math.prod(queries) else totals.query_offsets
        )
        products += offsets * position_query[-1]
    return 2 * math.prod(value[:2]) * products


def _triton_flops(
    value: Shape,
    query: Shape | None,
    key: Shape | None,
    key_bias: Shape | None,
    position_bias: Shape | None,
    row_encoding: Shape,
    column_encoding: Shape,
    padding: Shape | None,
    terms: int,
    scale: float,
    sizes: Sequence[int],
    window: int | None,
    axial: bool,
    *,
    out_shape: object = None,
) -> int:
    del query, key_bias, position_bias, padding, scale, out_shape
    on, (above, along, rows, columns, stride) = Term(terms), sizes
    batch, heads, _, width = value
    asked = (above, along) if axial else (above * along, above * along)
    products = sum(
        count * math.prod(of)
        for count, of in zip(asked, (row_encoding, column_encoding), strict=True)
    )
    products *= batch if on.has(Term.QUERY_POSITION) else 1
    if key is not None and not on.has(Term.QUERY_KEY):
        products += math.prod(key)
    if axial:
        pairs = along * rows * columns + along * above * rows
    else:
        structure, grid = Structure(window=window), Grid((above, along), (rows, columns), stride)
        reached = sum(len(structure.key_range(grid, 0, row, row)) for row in range(above))
        pairs = reached * along * columns
    if key is not None and on.has(Term.QUERY_KEY):
        width += key[-1]
    return 2 * (products + batch * heads * pairs * width)


_BY_FORMULA = {
    _dot_flops: "dot vdot",
    _product_flops: "_int_mm _scaled_mm_v2",
    _added_product_flops: "addmm_ baddbmm_ addbmm addbmm_ _addmm_activation",
    _outer_product_flops: "addr addr_",
    _grouped_product_flops: "_grouped_mm _scaled_grouped_mm _scaled_grouped_mm_v2",
    _matrix_vector_flops: "mv",
    _biased_matrix_vector_flops: "addmv addmv_",
    _linear_flops: """mkldnn_linear mkldnn::_linear_pointwise mkl::_mkl_linear _weight_int8pack_mm
        _weight_int4pack_mm _weight_int4pack_mm_for_cpu quantized::linear quantized::linear_relu
        quantized::linear_dynamic quantized::linear_relu_dynamic quantized::linear_dynamic_fp16
        quantized::linear_relu_dynamic_fp16""",
    _convolution_flops: """mkldnn_convolution mkldnn::_convolution_pointwise _conv_depthwise2d
        conv_depthwise3d slow_conv3d_forward slow_conv_dilated2d slow_conv_dilated3d
        cudnn_convolution_relu miopen_convolution miopen_convolution_relu
        miopen_depthwise_convolution _mps_convolution _nnpack_spatial_convolution
        torchvision::deform_conv2d""",
    _transposed_convolution_flops: """cudnn_convolution_transpose miopen_convolution_transpose
        slow_conv_transpose2d slow_conv_transpose3d mkldnn::_convolution_transpose_pointwise""",
    _time_first_convolution_flops: "conv_tbc",
    _recurrent_layer_flops: "mkldnn_rnn_layer",
    _recurrent_flops: "_cudnn_rnn miopen_rnn",
    _trilinear_flops: "_trilinear",
    _distance_flops: "_cdist_forward _euclidean_dist",
    _distances_within_flops: "_pdist_forward",
    _attention_flops: """_scaled_dot_product_flash_attention _scaled_dot_product_cudnn_attention
        _scaled_dot_product_efficient_attention _scaled_dot_product_flash_attention_for_cpu
        _scaled_dot_product_fused_attention_overrideable""",
    blockwise_flops: "quatrain::blockwise_attention",
    _triton_flops: "quatrain::triton_attention",
}
