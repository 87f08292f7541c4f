"""Closed forms of what a GPU executes and holds where its kernels differ from those of a CPU.

They say of `quatrain.ops.attention.augmented` and `quatrain.ops.attention.triton.operator` what
`quatrain.ops.counts` says of the methods.

Source: our own; Zhu et al. 2019, https://arxiv.org/abs/1904.05873, table 1, for orders of growth.
"""

from quatrain.ops import counts
from quatrain.ops.attention.augmented import WIDTHS
from quatrain.ops.counts import AttentionSize
from quatrain.specs import Term


def augmented(terms: Term, size: AttentionSize, *, training: bool = False) -> int:
    """Multiply-adds of logits and weighted sum where positions are channels.

    Each head is as wide as its content, its rows and its columns of keys together. With gradients,
    the kernel makes its weights again.
    """
    heads = size.heads
    width, logits = 0, counts.position_logits(terms, size)
    if terms.has(Term.QUERY_KEY):
        width += size.channels // heads
    elif terms.has(Term.KEY):
        width, logits = width + 1, logits + counts.content_logits(terms, size)
    if terms.use_position:
        width += sum(size.grid.keys)
    width += -width % WIDTHS if width else WIDTHS
    pairs = size.batch * size.queries * size.keys * heads
    per_head = size.channels // heads
    asked, mixed = pairs * width, pairs * (per_head + -per_head % WIDTHS)
    return 3 * logits + 4 * asked + 3 * mixed if training else logits + asked + mixed


def triton(terms: Term, size: AttentionSize, *, axial: bool = False, training: bool = False) -> int:
    """Multiply-adds by tiles, but for what these reach beyond a row or a window.

    What adds up the logits of keys in 16 bits, 16 products a pair and head, is not counted either.
    `axial` tells that rows of keys are taken one by one, and then columns of queries.

    Weights are made again once for all gradients; where those must repeat bit for bit, once more.
    Tables are made for each query, or by axial for each place of one along an axis, also where all
    ask the same of positions.
    """
    tables = sum(
        asked * offsets * size.channels
        for asked, offsets in zip(_asked(terms, size, axial=axial), size.offsets, strict=True)
    )
    pairs = size.batch * _pairs(size, axial=axial) * size.channels
    at_once, again = 2, 7
    if not terms.has(Term.QUERY_KEY):
        tables, at_once, again = tables + counts.content_logits(terms, size), 1, 3
    return 3 * tables + again * pairs if training else tables + at_once * pairs


def position_bias_held(
    terms: Term, size: AttentionSize, *, axial: bool = False, training: bool = False
) -> int:
    """The numbers of the position tables of tiles, and with `training` of their gradients.

    Tables are made whole, and shared by the batch where no query's content is asked; gradients are
    made for each batch element and, by axial, for each row of keys, and then for each column of
    queries, before they are added up.
    """
    (above, along), keys = size.grid.queries, size.grid.keys
    of_rows, of_columns = (
        asked * count for asked, count in zip(_asked(terms, size, axial=axial), keys, strict=True)
    )
    held = size.heads * (of_rows + of_columns)
    if not training:
        return held
    if axial:
        return held + size.batch * size.heads * max(along * of_rows, keys[0] * of_columns)
    return held + size.batch * size.heads * above * along * sum(keys)


def _asked(terms: Term, size: AttentionSize, *, axial: bool) -> tuple[int, int]:
    """How many vectors ask of rows, and how many of columns."""
    if axial:
        above, along = size.grid.queries
        return above, along
    batch = size.batch if terms.has(Term.QUERY_POSITION) else 1
    return batch * size.queries, batch * size.queries


def _pairs(size: AttentionSize, *, axial: bool) -> int:
    """Of a query and a key of one of its attentions."""
    (above, along), (rows, columns) = size.grid.queries, size.grid.keys
    if axial:
        return along * rows * (columns + above)
    structure = size.structure
    reached = sum(len(structure.key_range(size.grid, 0, row, row)) for row in range(above))
    return reached * along * columns
