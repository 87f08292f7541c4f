"""Batches by token count: pairs of similar length, as many as the budget allows.

    lengths   (5, 4) (9, 8) (5, 5) (2, 3)      budget 16 tokens a side, including padding
    sorted    (2, 3) (5, 4) (5, 5) (9, 8)
    batches   [(2, 3) (5, 4) (5, 5)]  3 rows, 5 wide        [(9, 8)]  1 row, 9 wide

Batches are a pure function of the lengths, the seed and the epoch, so a resumed run continues with
the same batches.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Int64
from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.translation.parallel_text import Pair
from quatrain.tasks.translation.vocabulary import BOS, EOS, PAD, Vocabulary


@dataclass(frozen=True)
class EncodedPairs:
    """Sentence pairs as token ids.

        ("zwei Hunde", "two dogs")  ->  source [812, 97, EOS]     target [BOS, 340, 1204, EOS]

    The model reads the target without its last token and predicts it without its first.
    """

    sources: list[list[int]]
    targets: list[list[int]]

    @classmethod
    def encode(cls, pairs: Sequence[Pair], vocabulary: Vocabulary, part: str) -> "EncodedPairs":
        """Encode both sides of the pairs of a part of the data."""
        if not pairs:
            raise DataError(f"the {part} part is empty; use more or other data", f"{part} part")
        sources = vocabulary.encode_batch([source for source, _ in pairs])
        targets = vocabulary.encode_batch([target for _, target in pairs])
        return cls(
            [[*source, EOS] for source in sources], [[BOS, *target, EOS] for target in targets]
        )

    @cached_property
    def lengths(self) -> list[tuple[int, int]]:
        """Number of tokens of each source, and of predicted tokens of each target."""
        sides = zip(self.sources, self.targets, strict=True)
        return [(len(source), len(target) - 1) for source, target in sides]

    def check_lengths(self, budget: int, location: Callable[[int, int], str]) -> None:
        """Check that each pair fits into a batch of `budget` tokens.

        `location` returns where one side (0 source, 1 target) of a pair is in the user's files.
        """
        too_long = [pair for pair, sides in enumerate(self.lengths) if max(sides) > budget]
        if not too_long:
            return
        longest = max(too_long, key=lambda pair: max(self.lengths[pair]))
        sides = self.lengths[longest]
        others = f" and {len(too_long) - 1} more that are too long" if len(too_long) > 1 else ""
        place = location(longest, sides.index(max(sides)))
        raise DataError(
            f"{place} has {max(sides)} tokens, more than the {budget} of a batch; raise "
            f"batch_tokens, lower longest (words), or remove this pair{others}",
            place,
        )

    def collate(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """One padded batch."""
        return {
            "source": pad([self.sources[index] for index in indices]),
            "target": pad([self.targets[index] for index in indices]),
        }


def token_batches(
    lengths: Sequence[tuple[int, int]], budget: int, *, seed: int, epoch: int
) -> list[list[int]]:
    """Partition the indices of pairs with these (source, target) lengths into batches.

    The number of rows of a batch times its longest sentence, on either side, is at most `budget`.
    The order of batches, and of pairs of equal lengths, differs between epochs.

    Raises:
        DataError: if a pair exceeds the budget, with its index.
    """
    if not lengths:
        return []
    table = np.asarray(lengths, dtype=np.int64)
    widths = table.max(axis=1)
    longest = int(widths.argmax())
    if widths[longest] > budget:
        raise DataError(
            f"the pair {longest} has {widths[longest]} tokens, more than the {budget} of a batch; "
            "raise the tokens per batch or leave out pairs this long",
            f"lengths[{longest}]",
        )
    random = np.random.default_rng([seed, epoch])
    # Sort by the longer side, which determines the size of a batch, then the source; shuffle ties.
    order = np.lexsort((random.random(len(table)), table[:, 0], widths))
    batches = _split(order.tolist(), widths[order].tolist(), budget)
    return [batches[index] for index in random.permutation(len(batches))]


def pad(rows: Sequence[Sequence[int]]) -> Int64[Tensor, "b t"]:
    """Stack rows of ids, padded with PAD to the longest."""
    width = max(map(len, rows), default=0)
    padded = [[*row, *[PAD] * (width - len(row))] for row in rows]
    return torch.tensor(padded, dtype=torch.int64).reshape(len(rows), width)


def _split(order: list[int], widths: list[int], budget: int) -> list[list[int]]:
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
