"""Closed forms of the multiply-adds of attention on a GPU, and of the numbers that it stores.

They count what `quatrain.ops.counts` counts for the methods of a CPU: matrix products alone.

    size = AttentionSize(batch=1, grid=Grid((50, 84), (50, 84)), channels=256, heads=8)
    triton(Term.parse("1111"), size)

Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, gives the orders of growth.
Differs: these are exact counts of what is executed.
"""

from quatrain.ops.attention.augmented import WIDTH_MULTIPLE
from quatrain.ops.counts import AttentionSize, content_logits, position_logits, sdpa_pairs
from quatrain.specs import Term


def augmented(terms: Term, size: AttentionSize, *, training: bool = False) -> int:
    """Multiply-adds of logits and weighted sum where positions are channels.

    Each head is as wide as its content, and the rows and columns of keys together. With gradients,
    the kernel computes its weights again.
    """
    heads = size.heads
    width, logits = 0, position_logits(terms, size)
    if terms.has(Term.QUERY_KEY):
        width += size.channels // heads
    elif terms.has(Term.KEY):
        width, logits = width + 1, logits + content_logits(terms, size)
    if terms.use_position:
        width += sum(size.grid.keys)
    width += -width % WIDTH_MULTIPLE if width else WIDTH_MULTIPLE
    pairs = sdpa_pairs(size) * heads
    head_width = size.channels // heads
    dots, sums = pairs * width, pairs * (head_width + -head_width % WIDTH_MULTIPLE)
    return 3 * logits + 4 * dots + 3 * sums if training else logits + dots + sums


def triton(terms: Term, size: AttentionSize, *, axial: bool = False, training: bool = False) -> int:
    """Multiply-adds of the Triton kernels, without the parts of tiles beyond a row or a window.

    The sum of the parts of 16-bit key logits, 16 products per pair and head, is not counted either.
    `axial` means the softmax of rows of keys and then of columns.

    Weights are computed again once for all gradients, or twice where gradients must be
    deterministic. Position biases are computed per query or, axial, per coordinate of a query,
    also where they are the same for all queries.
    """
    position_bias = sum(
        queries * count * size.channels
        for queries, count in zip(
            _triton_queries(terms, size, axial=axial), size.relative_counts, strict=True
        )
    )
    pairs = size.batch * _triton_pairs(size, axial=axial) * size.channels
    forward, training_step = 2, 7
    if not terms.has(Term.QUERY_KEY):
        position_bias += content_logits(terms, size)
        forward, training_step = 1, 3
    if training:
        return 3 * position_bias + training_step * pairs
    return position_bias + forward * pairs


def stored_position_bias(
    terms: Term, size: AttentionSize, *, axial: bool = False, training: bool = False
) -> int:
    """The numbers of the Triton kernels' position biases and, if `training`, of their gradients.

    Biases are computed whole, and shared by the batch without E2; their gradients exist per batch
    element and, axial, per row of keys and then per column of queries, before they are summed.
    """
    (height, width), keys = size.grid.queries, size.grid.keys
    row_bias, column_bias = (
        queries * count
        for queries, count in zip(_triton_queries(terms, size, axial=axial), keys, strict=True)
    )
    stored = size.heads * (row_bias + column_bias)
    if not training:
        return stored
    if axial:
        return stored + size.batch * size.heads * max(width * row_bias, keys[0] * column_bias)
    return stored + size.batch * size.heads * height * width * sum(keys)


def _triton_queries(terms: Term, size: AttentionSize, *, axial: bool) -> tuple[int, int]:
    """How many queries the row bias has, and the column bias."""
    if axial:
        height, width = size.grid.queries
        return height, width
    batch = size.batch if terms.has(Term.QUERY_POSITION) else 1
    return batch * size.queries, batch * size.queries


def _triton_pairs(size: AttentionSize, *, axial: bool) -> int:
    """Query-key pairs of one batch element and head."""
    (height, width), (rows, columns) = size.grid.queries, size.grid.keys
    if axial:
        return width * rows * (columns + height)
    structure = size.structure
    rows_reached = sum(len(structure.key_range(size.grid, 0, row, row)) for row in range(height))
    return rows_reached * width * columns
