"""Batches by token count: sentences of like length together, as many as the budget holds.

    lengths   (5, 4) (9, 8) (5, 5) (2, 3)      budget 16 tokens a side, padding included
    sorted    (2, 3) (5, 4) (5, 5) (9, 8)
    batches   [(2, 3) (5, 4) (5, 5)]  3 rows, 5 wide        [(9, 8)]  1 row, 9 wide

Which sentences meet is a pure function of the lengths, the seed and the epoch, so a run that was
stopped finds the batch it was at.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.translation.vocabulary import PAD


def token_batches(
    lengths: Sequence[tuple[int, int]], budget: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Divide the pairs with these (source, target) lengths into batches, each index in one.

    The rows of a batch times its longest sentence, on either side, are at most `budget`. Pairs of
    equal lengths change their neighbours from epoch to epoch, and the batches their order.

    Raises:
        DataError: if a pair alone is over the budget, with its index.
    """
    if not lengths:
        return []
    table = np.asarray(lengths, dtype=np.int64)
    widths = table.max(axis=1)
    _refuse_too_long(widths, budget)
    random = np.random.default_rng([seed, epoch])
    # The longer side decides what a batch costs; the source breaks ties, and chance the rest.
    order = np.lexsort((random.random(len(table)), table[:, 0], widths))
    batches = _cut(order.tolist(), widths[order].tolist(), budget)
    return [batches[index] for index in random.permutation(len(batches))]


def pad(rows: Sequence[Sequence[int]]) -> Int64[Tensor, "b t"]:
    """Lay rows of ids side by side, filled up with PAD to the longest."""
    width = max(map(len, rows), default=0)
    filled = [[*row, *[PAD] * (width - len(row))] for row in rows]
    return torch.tensor(filled, dtype=torch.int64).reshape(len(rows), width)


def _refuse_too_long(widths: np.ndarray, budget: int) -> None:
    longest = int(widths.argmax())
    if widths[longest] > budget:
        raise DataError(
            f"lengths[{longest}]",
            int(widths[longest]),
            f"at most the {budget} tokens of a batch",
            "raise the tokens per batch or leave out pairs this long",
        )


def _cut(order: list[int], widths: list[int], budget: int) -> list[list[int]]:
    batches: list[list[int]] = []
    batch: list[int] = []
    widest = 0
    for index, width in zip(order, widths, strict=True):
        widest = max(widest, width)
        if widest * (len(batch) + 1) > budget:
            batches.append(batch)
            batch, widest = [], width
        batch.append(index)
    batches.append(batch)
    return batches
