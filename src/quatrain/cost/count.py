"""Multiply-adds and parameters of any module, counted while it runs.

The module runs once, in evaluation mode and without gradients, and every matrix product and
convolution that reaches the dispatcher is counted by its shapes. Tensors on the meta device do
as well as real ones, so a large network is counted in no time and in no memory.

    linear = nn.Linear(512, 2048, device="meta")
    count_multiply_adds(linear, torch.empty(50, 512, device="meta"))    # 50 * 512 * 2048

One multiply-add is two FLOPs. Element-wise work, softmax, gathers and embeddings count nothing.
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from quatrain.ops.attend import opaque, tiles  # noqa: F401 - they register their operators
from quatrain.ops.counts import block_totals
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure
from quatrain.specs import Term

Shape = tuple[int, ...]


def count_multiply_adds(module: nn.Module, *inputs: Any, **named_inputs: Any) -> int:
    """Run `module(*inputs, **named_inputs)` once and count the multiply-adds it executes.

    The module comes back as it was: its training modes are restored and it keeps no hook.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_formulas())
    with _as_deployed(module), torch.no_grad(), counter:
        module(*inputs, **named_inputs)
    return counter.get_total_flops() // 2


def count_parameters(module: nn.Module) -> int:
    """The number of learnt values; a parameter that is shared counts once."""
    return sum(parameter.numel() for parameter in module.parameters())


@contextmanager
def _as_deployed(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    fastpath = torch.backends.mha.get_fastpath_enabled()
    # torch's own encoder layers would run as one operator whose inside cannot be counted
    torch.backends.mha.set_fastpath_enabled(False)
    module.eval()
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fastpath)
        for part, mode in modes:
            part.training = mode


def _formulas() -> dict[Any, Any]:
    """FLOPs of the operators that torch's own counter passes over."""
    # It registers its operators, and takes two seconds, which only who counts should wait for.
    import torchvision  # noqa: F401

    aten = torch.ops.aten
    return {
        aten._scaled_dot_product_flash_attention_for_cpu: _attention_flops,
        aten._scaled_dot_product_fused_attention_overrideable: _attention_flops,
        aten.addmm_: _added_product_flops,
        aten.baddbmm_: _added_product_flops,
        torch.ops.torchvision.deform_conv2d: _deformable_flops,
        aten.mv: _matrix_vector_flops,
        aten.addmv: _biased_matrix_vector_flops,
        aten.dot: _dot_flops,
        torch.ops.quatrain.mix_by_blocks: blocked_flops,
        torch.ops.quatrain.attend_by_tiles: _tiled_flops,
    }


def _attention_flops(
    query: Shape, key: Shape, value: Shape, *_: object, out_shape: object = None, **__: object
) -> int:
    del out_shape
    return sdpa_flop_count(query, key, value)


def _added_product_flops(
    total: Shape, left: Shape, right: Shape, *, out_shape: object = None, **__: object
) -> int:
    del total, out_shape
    return 2 * math.prod(left) * right[-1]


def _deformable_flops(x: Shape, weight: Shape, *_: object, out_shape: Shape, **__: object) -> int:
    del x
    return 2 * math.prod(out_shape) * math.prod(weight[1:])


def blocked_flops(
    value: Shape,
    asks: Shape | None,
    key: Shape | None,
    key_logits: Shape | None,
    position_asks: Shape | None,
    attend_mask: Shape | None,
    relative: Sequence[Shape],
    queries: Sequence[int],
    keys: Sequence[int],
    key_stride: int,
    first_query: int,
    causal: bool,
    window: int | None,
    padded: bool,
    product: bool,
    *,
    out_shape: object = None,
) -> int:
    """FLOPs of our attention by blocks of queries, whose products the counter does not see."""
    del key, key_logits, relative, padded, out_shape
    grid = Grid(tuple(queries), tuple(keys), key_stride, first_query)
    totals = block_totals(grid, Structure(causal, window, picked=attend_mask is not None))
    if product:
        products = (totals.pairs + totals.by_row) * (value[-1] + 1)
    else:
        products = totals.pairs * (value[-1] + (0 if asks is None else asks[-1]))
    if position_asks is not None:
        offsets = totals.occurring if position_asks[2] == 1 < math.prod(queries) else totals.asked
        products += offsets * position_asks[-1]
    return 2 * math.prod(value[:2]) * products


def _tiled_flops(
    value: Shape,
    query: Shape | None,
    key: Shape | None,
    key_bias: Shape | None,
    position_bias: Shape | None,
    of_rows: Shape,
    of_columns: Shape,
    padding: Shape | None,
    terms: int,
    scale: float,
    sizes: Sequence[int],
    window: int | None,
    by_lines: bool,
    *,
    out_shape: object = None,
) -> int:
    del query, key_bias, position_bias, padding, scale, out_shape
    on, (above, along, rows, columns, stride) = Term(terms), sizes
    batch, heads, _, width = value
    asked = (above, along) if by_lines else (above * along, above * along)
    products = sum(
        count * math.prod(of) for count, of in zip(asked, (of_rows, of_columns), strict=True)
    )
    products *= batch if on.has(Term.QUERY_POSITION) else 1
    if key is not None and not on.has(Term.QUERY_KEY):
        products += math.prod(key)
    if by_lines:
        pairs = along * rows * columns + along * above * rows
    else:
        structure, grid = Structure(window=window), Grid((above, along), (rows, columns), stride)
        reached = sum(len(structure.reach(grid, 0, row, row)) for row in range(above))
        pairs = reached * along * columns
    if key is not None and on.has(Term.QUERY_KEY):
        width += key[-1]
    return 2 * (products + batch * heads * pairs * width)


def _matrix_vector_flops(matrix: Shape, vector: Shape, *, out_shape: object = None) -> int:
    del vector, out_shape
    return 2 * math.prod(matrix)


def _biased_matrix_vector_flops(
    bias: Shape, matrix: Shape, vector: Shape, *, out_shape: object = None, **__: object
) -> int:
    del bias, vector, out_shape
    return 2 * math.prod(matrix)


def _dot_flops(left: Shape, right: Shape, *, out_shape: object = None) -> int:
    del right, out_shape
    return 2 * math.prod(left)
