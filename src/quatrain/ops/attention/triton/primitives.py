"""Loads, stores, products and exponentials that the Triton kernels share.

An attention belongs to one batch element and head. Where one has several attentions, `inner` of
them are interleaved vector by vector, so that the next vector of the same attention is `inner`
vectors further on.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1.
"""

import math
from typing import no_type_check

import triton
import triton.language as tl

_LOG2_E = tl.constexpr(math.log2(math.e))


@triton.jit
@no_type_check
def program_tile(count, TILE: tl.constexpr):
    """The attention and the indices of a program's tile of vectors, and whether they are valid."""
    tiles = tl.cdiv(count, TILE)
    head = (tl.program_id(0) // tiles).to(tl.int64)
    index = tl.program_id(0) % tiles * TILE + tl.arange(0, TILE)
    return head, index, index < count


@triton.jit
@no_type_check
def start_of(x, head, count, width, inner):
    """Pointer to the first of an attention's `count` vectors; 32-bit offsets suffice from there."""
    return x + (head // inner * (count * inner) + head % inner) * width


@triton.jit
@no_type_check
def _offsets(index, valid, width, inner, WIDTH: tl.constexpr):
    """Offsets of the numbers of vectors, (vectors, WIDTH), and their mask."""
    channel = tl.arange(0, WIDTH)
    at = index[:, None] * (inner * width) + channel[None, :]
    return at, valid[:, None] & (channel < width)[None, :]


@triton.jit
@no_type_check
def load_vectors(x, index, valid, width, inner, WIDTH: tl.constexpr):
    """Load vectors; zeros where invalid, and beyond the width."""
    at, mask = _offsets(index, valid, width, inner, WIDTH)
    return tl.load(x + at, mask=mask, other=0.0)


@triton.jit
@no_type_check
def load_vectors_if(x, index, valid, width, inner, WIDTH: tl.constexpr, EXISTS: tl.constexpr):
    """Load vectors if they exist; else return the indices, which nothing reads."""
    vectors = index
    if EXISTS:
        vectors = load_vectors(x, index, valid, width, inner, WIDTH)
    return vectors


@triton.jit
@no_type_check
def store_vectors(x, vectors, index, valid, width, inner, WIDTH: tl.constexpr):
    """Store vectors."""
    at, mask = _offsets(index, valid, width, inner, WIDTH)
    tl.store(x + at, vectors.to(x.dtype.element_ty), mask=mask)


@triton.jit
@no_type_check
def store_tile(x, tile, row, valid, column, columns):
    """Store a tile of a matrix."""
    mask = valid[:, None] & (column < columns)[None, :]
    tl.store(x + row[:, None] * columns + column[None, :], tile, mask=mask)


@triton.jit
@no_type_check
def atomic_add_vectors(x, vectors, index, valid, width, inner, WIDTH: tl.constexpr):
    """Add to vectors that other programs add to as well."""
    at, mask = _offsets(index, valid, width, inner, WIDTH)
    tl.atomic_add(x + at, vectors, mask=mask, sem="relaxed")


@triton.jit
@no_type_check
def accumulate(x, numbers, valid, initialized):
    """Add to this program's own numbers, which count as zero until initialized."""
    before = tl.load(x, mask=valid & initialized, other=0.0)
    tl.store(x, before + numbers, mask=valid)


@triton.jit
@no_type_check
def dot(left, right, exact: tl.constexpr):
    """A matrix product, summed in the exact type, without rounding to TF32."""
    return tl.dot(left, right, input_precision="ieee", out_dtype=exact)


@triton.jit
@no_type_check
def exp_difference(higher, lower, HAS_MASK: tl.constexpr):
    """exp(higher - lower) as a power of two: one multiplication and one addition per number.

    With HAS_MASK, numbers may be so large that the difference must be taken first.
    """
    if HAS_MASK:
        difference = (higher - lower) * _LOG2_E
    else:
        difference = higher * _LOG2_E - lower * _LOG2_E
    return tl.exp2(difference)


@triton.jit
@no_type_check
def split(numbers, dtype: tl.constexpr, PARTS: tl.constexpr):
    """Three parts of 8 bits each that add up to a number, and zeros up to PARTS."""
    channel = tl.arange(0, PARTS)[None, :]
    parts = tl.zeros((numbers.shape[0], PARTS), dtype)
    for place in tl.static_range(3):
        part = numbers.to(dtype)
        parts = tl.where(channel == place, part[:, None], parts)
        numbers -= part.to(tl.float32)
    return parts


@triton.jit
@no_type_check
def scaled_bias(bias, head, width, exact: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """The bias of a head times the scale of logits, (WIDTH,); zeros beyond the width."""
    channel = tl.arange(0, WIDTH)
    numbers = tl.load(bias + head * width + channel, mask=channel < width, other=0.0)
    return numbers.to(exact) * SCALE


@triton.jit
@no_type_check
def biased_queries(
    query,
    bias,
    at,  # indices of queries, whether they are valid, and their head
    width,
    exact: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    HAS_QUERY: tl.constexpr,
    HAS_BIAS: tl.constexpr,
):
    """Scaled queries plus scaled bias, as far as they exist, (queries, WIDTH)."""
    index, valid, head = at
    total = tl.zeros((index.shape[0], WIDTH), exact)
    if HAS_QUERY:
        total += load_vectors(query, index, valid, width, 1, WIDTH).to(exact) * SCALE
    if HAS_BIAS:
        total += scaled_bias(bias, head, width, exact, WIDTH, SCALE)[None, :]
    return total
