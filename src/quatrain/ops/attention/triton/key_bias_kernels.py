"""What each key has for all queries alike, in Triton: what one program of a GPU does.

The logit of a key is bias . key, and LOWEST, which stands for no weight, where the key is padding.

Shapes: bh batch and heads together, h heads, b batch elements, or 1 where all share their padding;
k keys, d width of a key, p parts.

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2, for the logits.
"""

from typing import no_type_check

import triton
import triton.language as tl

from quatrain.ops.attention.triton.primitives import (
    begin,
    bias_of,
    keep,
    of_program,
    parts_of,
    vectors,
)


@triton.jit
@no_type_check
def weigh(
    key,  # (bh, k, d)
    bias,  # (h, d)
    padding,  # (b, k)
    made,  # (bh, k), or with PARTS > 1 (bh, k, p), written
    sizes,  # of k, d, h and b
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    BIAS: tl.constexpr,
    PADDED: tl.constexpr,
    PARTS: tl.constexpr,
    LOWEST: tl.constexpr,
):
    """Logits of one tile of the keys of one head: zeros without BIAS, where only padding counts."""
    exact: tl.constexpr = tl.float32 if PARTS > 1 else made.dtype.element_ty
    keys, width, heads, elements = sizes
    head, number, there = of_program(keys, KEYS)
    logits = tl.zeros((KEYS,), exact)
    if BIAS:
        theirs = vectors(begin(key, head, keys, width, 1), number, there, width, 1, WIDTH)
        bias = bias_of(bias, head % heads, width, exact, WIDTH, SCALE)
        logits = tl.sum(theirs.to(exact) * bias[None, :], 1)
    if PADDED:
        padding = begin(padding, head // heads % elements, keys, 1, 1)
        out = tl.load(padding + number, mask=there, other=0)
        logits = tl.where(out != 0, LOWEST, logits)
    made = begin(made, head, keys, PARTS, 1)
    if PARTS == 1:
        tl.store(made + number, logits, mask=there)
    else:
        keep(made, parts_of(logits, made.dtype.element_ty, PARTS), number, there, PARTS, 1, PARTS)


@triton.jit
@no_type_check
def gradients_of_weighed(
    given,  # (bh, k)
    key,
    bias,
    to_key,  # (bh, k, d), written
    to_bias,  # (c, bh, d), written: a part for each of c tiles of keys
    sizes,
    KEYS: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
):
    """Gradients of one tile of the keys of one head, and what it gives to that of the bias."""
    exact: tl.constexpr = given.dtype.element_ty
    keys, width, heads, _ = sizes
    head, number, there = of_program(keys, KEYS)
    entering = tl.load(begin(given, head, keys, 1, 1) + number, mask=there, other=0.0)[:, None]
    theirs = vectors(begin(key, head, keys, width, 1), number, there, width, 1, WIDTH)
    bias = bias_of(bias, head % heads, width, exact, WIDTH, SCALE)
    to_key = begin(to_key, head, keys, width, 1)
    keep(to_key, entering * bias[None, :], number, there, width, 1, WIDTH)
    tiles = tl.cdiv(keys, KEYS)
    part = tl.program_id(0) % tiles * (tl.num_programs(0) // tiles) + head
    channel = tl.arange(0, WIDTH)
    total = tl.sum(entering * theirs.to(exact), 0) * SCALE
    tl.store(to_bias + part * width + channel, total, mask=channel < width)


@triton.jit
@no_type_check
def split(
    x,  # (k,), float32
    parts,  # (k, p), bfloat16, written
    keys,
    KEYS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """The parts of any numbers."""
    number = tl.program_id(0).to(tl.int64) * KEYS + tl.arange(0, KEYS)
    there = number < keys
    whole = tl.load(x + number, mask=there, other=0.0)
    keep(parts, parts_of(whole, parts.dtype.element_ty, PARTS), number, there, PARTS, 1, PARTS)
