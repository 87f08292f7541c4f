"""Sentence pairs as ids, ready to be batched.

    ("zwei Hunde", "two dogs")  ->  source [812, 97, EOS]     target [BOS, 340, 1204, EOS]

The target is one longer than what is predicted: the model reads it without its end and is asked
for it without its beginning.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

from torch import Tensor

from quatrain.specs import DataError
from quatrain.tasks.translation.batches import pad, token_batches
from quatrain.tasks.translation.corpus import Pair
from quatrain.tasks.translation.vocabulary import BOS, EOS, Vocabulary


@dataclass(frozen=True)
class Encoded:
    """Pairs as ids: sources end with EOS; targets begin with BOS and end with EOS."""

    sources: list[list[int]]
    targets: list[list[int]]

    @classmethod
    def of(cls, pairs: Sequence[Pair], vocabulary: Vocabulary, part: str) -> "Encoded":
        """Encode both sides.

        Raises:
            DataError: if there are no pairs.
        """
        if not pairs:
            raise DataError(
                f"{part} part", "empty", "at least one pair", "give it more data, or other data"
            )
        sources = vocabulary.encode_batch([source for source, _ in pairs])
        targets = vocabulary.encode_batch([target for _, target in pairs])
        return cls(
            [[*source, EOS] for source in sources], [[BOS, *target, EOS] for target in targets]
        )

    @cached_property
    def lengths(self) -> list[tuple[int, int]]:
        """Tokens of each source, and of each target that are predicted."""
        sides = zip(self.sources, self.targets, strict=True)
        return [(len(source), len(target) - 1) for source, target in sides]

    @property
    def longest(self) -> int:
        """Tokens of the longest sentence on either side."""
        return max(map(max, self.lengths))

    def refuse_longer(self, budget: int, place: Callable[[int, int], str]) -> None:
        """Refuse pairs that no batch of `budget` tokens holds.

        `place` says where one side (0 source, 1 target) of a pair stands in the user's files.

        Raises:
            DataError: with the longest pair and the number of the others.
        """
        over = [pair for pair, sides in enumerate(self.lengths) if max(sides) > budget]
        if not over:
            return
        longest = max(over, key=lambda pair: max(self.lengths[pair]))
        sides = self.lengths[longest]
        others = f" and {len(over) - 1} more that are too long" if len(over) > 1 else ""
        raise DataError(
            place(longest, sides.index(max(sides))),
            f"{max(sides)} tokens",
            f"at most the {budget} of a batch",
            f"raise batch_tokens, lower longest (words), or remove this pair{others}",
        )

    def batches(self, budget: int, seed: int, epoch: int) -> list[list[int]]:
        """Indices by batch; see `token_batches`."""
        return token_batches(self.lengths, budget, seed=seed, epoch=epoch)

    def collate(self, indices: Sequence[int]) -> dict[str, Tensor]:
        """One padded batch."""
        return {
            "source": pad([self.sources[index] for index in indices]),
            "target": pad([self.targets[index] for index in indices]),
        }
