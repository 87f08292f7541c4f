"""Vectors in memory, and products and powers of them, for the kernels of a GPU, in Triton.

An attention is of one batch element and head; where one has several, `inner` of them lie vector by
vector in turn, so that the next vector of one of them is that many further on.

Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1.
"""

import math
from typing import no_type_check

import triton
import triton.language as tl

_TO_POWERS_OF_TWO = tl.constexpr(math.log2(math.e))


@triton.jit
@no_type_check
def of_program(queries, QUERIES: tl.constexpr):
    """The attention and the queries of a program that has a tile of them, and which are there."""
    tiles = tl.cdiv(queries, QUERIES)
    head = (tl.program_id(0) // tiles).to(tl.int64)
    query = tl.program_id(0) % tiles * QUERIES + tl.arange(0, QUERIES)
    return head, query, query < queries


@triton.jit
@no_type_check
def begin(x, head, count, width, inner):
    """Where the first of an attention's `count` vectors is; from there, 32 bits tell the way."""
    return x + (head // inner * (count * inner) + head % inner) * width


@triton.jit
@no_type_check
def _places(number, there, width, inner, WIDTH: tl.constexpr):
    """Where vectors of these numbers are, (numbers, WIDTH), and what of them is inside."""
    channel = tl.arange(0, WIDTH)
    at = number[:, None] * (inner * width) + channel[None, :]
    return at, there[:, None] & (channel < width)[None, :]


@triton.jit
@no_type_check
def vectors(x, number, there, width, inner, WIDTH: tl.constexpr):
    """The vectors of these numbers, with zeros up to the width of a tile and where none is."""
    at, inside = _places(number, there, width, inner, WIDTH)
    return tl.load(x + at, mask=inside, other=0.0)


@triton.jit
@no_type_check
def vectors_if(x, number, there, width, inner, WIDTH: tl.constexpr, THERE_ARE: tl.constexpr):
    """The same where there are any; else their numbers, which nothing reads."""
    found = number
    if THERE_ARE:
        found = vectors(x, number, there, width, inner, WIDTH)
    return found


@triton.jit
@no_type_check
def keep(x, made, number, there, width, inner, WIDTH: tl.constexpr):
    """Write vectors."""
    at, inside = _places(number, there, width, inner, WIDTH)
    tl.store(x + at, made.to(x.dtype.element_ty), mask=inside)


@triton.jit
@no_type_check
def keep_tile(x, made, query, asked, column, along):
    """Write a part of a table."""
    inside = asked[:, None] & (column < along)[None, :]
    tl.store(x + query[:, None] * along + column[None, :], made, mask=inside)


@triton.jit
@no_type_check
def add(x, made, number, there, width, inner, WIDTH: tl.constexpr):
    """Add to vectors that other programs add to as well."""
    at, inside = _places(number, there, width, inner, WIDTH)
    tl.atomic_add(x + at, made, mask=inside, sem="relaxed")


@triton.jit
@no_type_check
def add_up(x, more, asked, begun):
    """Add to numbers of this program's own, which are not there before it has begun."""
    before = tl.load(x, mask=asked & begun, other=0.0)
    tl.store(x, before + more, mask=asked)


@triton.jit
@no_type_check
def product(ours, theirs, exact: tl.constexpr):
    """A matrix product, summed in the exact type, of which nothing is rounded to TF32."""
    return tl.dot(ours, theirs, input_precision="ieee", out_dtype=exact)


@triton.jit
@no_type_check
def exp_of_difference(higher, lower, FAR: tl.constexpr):
    """The exponential as a power of two: one multiplication and addition for each number.

    With FAR, numbers may be so large that the difference is to be taken first.
    """
    if FAR:
        difference = (higher - lower) * _TO_POWERS_OF_TWO
    else:
        difference = higher * _TO_POWERS_OF_TWO - lower * _TO_POWERS_OF_TWO
    return tl.exp2(difference)


@triton.jit
@no_type_check
def parts_of(rest, kind: tl.constexpr, PARTS: tl.constexpr):
    """Three numbers of 8 bits each whose sum a number is, and zeros up to the width of a tile."""
    channel = tl.arange(0, PARTS)[None, :]
    made = tl.zeros((rest.shape[0], PARTS), kind)
    for place in tl.static_range(3):
        part = rest.to(kind)
        made = tl.where(channel == place, part[:, None], made)
        rest -= part.to(tl.float32)
    return made


@triton.jit
@no_type_check
def bias_of(bias, head, width, exact: tl.constexpr, WIDTH: tl.constexpr, SCALE: tl.constexpr):
    """That of a head, (WIDTH,), times the scale of logits; zeros up to the width of a tile."""
    channel = tl.arange(0, WIDTH)
    found = tl.load(bias + head * width + channel, mask=channel < width, other=0.0)
    return found.to(exact) * SCALE


@triton.jit
@no_type_check
def sum_of_biased(
    query,
    bias,
    at,  # of queries: their numbers, whether they are there, and the number of their head
    width,
    exact: tl.constexpr,
    WIDTH: tl.constexpr,
    SCALE: tl.constexpr,
    QUERY: tl.constexpr,
    BIAS: tl.constexpr,
):
    """What queries ask, (queries, WIDTH): with QUERY by their content, with BIAS whoever asks."""
    number, there, head = at
    asked = tl.zeros((number.shape[0], WIDTH), exact)
    if QUERY:
        asked += vectors(query, number, there, width, 1, WIDTH).to(exact) * SCALE
    if BIAS:
        asked += bias_of(bias, head, width, exact, WIDTH, SCALE)[None, :]
    return asked
