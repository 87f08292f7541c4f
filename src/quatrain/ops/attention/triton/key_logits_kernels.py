"""Triton kernels of the logits of each key that are the same for all queries.

The logit of a key is bias . key, and MASK_VALUE where the key is padding.

Shapes: bh batch and heads together, h heads, b batch elements, or 1 where all share their padding;
k keys, d width of a key, p parts, c tiles of keys.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.primitives import (
    load_vectors,
    program_tile,
    scaled_bias,
    split,
    start_of,
    store_vectors,
)


@triton.jit
@no_type_check
def key_logits_kernel(
    key,  # (bh, k, d)
    bias,  # (h, d)
    padding,  # (b, k)
    logits,  # (bh, k), or with PARTS > 1 (bh, k, p), written
    sizes,  # of k, d, h and b
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    HAS_PADDING: tl.constexpr,
    PARTS: tl.constexpr,
    MASK_VALUE: tl.constexpr,
):
    """Logits of one tile of the keys of one head; without HAS_BIAS, zeros and padding."""
    exact: tl.constexpr = tl.float32 if PARTS > 1 else logits.dtype.element_ty
    keys, width, heads, elements = sizes
    head, index, valid = program_tile(keys, KEYS)
    totals = tl.zeros((KEYS,), exact)
    if HAS_BIAS:
        vectors = load_vectors(start_of(key, head, keys, width, 1), index, valid, width, 1, WIDTH)
        bias = scaled_bias(bias, head % heads, width, exact, WIDTH, SCALE)
        totals = tl.sum(vectors.to(exact) * bias[None, :], 1)
    if HAS_PADDING:
        padding = start_of(padding, head // heads % elements, keys, 1, 1)
        is_padding = tl.load(padding + index, mask=valid, other=0)
        totals = tl.where(is_padding != 0, MASK_VALUE, totals)
    logits = start_of(logits, head, keys, PARTS, 1)
    if PARTS == 1:
        tl.store(logits + index, totals, mask=valid)
    else:
        parts = split(totals, logits.dtype.element_ty, PARTS)
        store_vectors(logits, parts, index, valid, PARTS, 1, PARTS)


@triton.jit
@no_type_check
def key_logits_grads_kernel(
    grad_logits,  # (bh, k)
    key,
    bias,
    grad_key,  # (bh, k, d), written
    grad_bias,  # (c, bh, d), written: one part per tile of keys
    sizes,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
):
    """Gradients of one tile of the keys of one head, and its part of that of the bias."""
    exact: tl.constexpr = grad_logits.dtype.element_ty
    keys, width, heads, _ = sizes
    head, index, valid = program_tile(keys, KEYS)
    grad_logits = start_of(grad_logits, head, keys, 1, 1)
    grads = tl.load(grad_logits + index, mask=valid, other=0.0)[:, None]
    vectors = load_vectors(start_of(key, head, keys, width, 1), index, valid, width, 1, WIDTH)
    bias = scaled_bias(bias, head % heads, width, exact, WIDTH, SCALE)
    grad_key = start_of(grad_key, head, keys, width, 1)
    store_vectors(grad_key, grads * bias[None, :], index, valid, width, 1, WIDTH)
    tiles = tl.cdiv(keys, KEYS)
    part = tl.program_id(0) % tiles * (tl.num_programs(0) // tiles) + head
    channel = tl.arange(0, WIDTH)
    total = tl.sum(grads * vectors.to(exact), 0) * SCALE
    tl.store(grad_bias + part * width + channel, total, mask=channel < width)


@triton.jit
@no_type_check
def split_kernel(
    x,  # (k,), float32
    parts,  # (k, p), bfloat16, written
    count,
    TILE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """The parts of numbers."""
    index = tl.program_id(0).to(tl.int64) * TILE + tl.arange(0, TILE)
    valid = index < count
    numbers = tl.load(x + index, mask=valid, other=0.0)
    split_numbers = split(numbers, parts.dtype.element_ty, PARTS)
    store_vectors(parts, split_numbers, index, valid, PARTS, 1, PARTS)
