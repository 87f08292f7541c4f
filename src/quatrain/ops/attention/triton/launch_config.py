"""How large the tiles of a GPU's kernels are, and how many threads and stages share them.

Source: our own; measured on an NVIDIA H200, and bounded by the shared memory of smaller GPUs.
"""

from dataclasses import dataclass
from typing import Literal

Task = Literal["mix", "queries", "keys", "both"]
"""The output; gradients of queries, of keys, or of queries with what they give to those of keys."""


@dataclass(frozen=True)
class Tiling:
    """How many queries and columns of keys a program takes at once, and the widths of its tiles.

    `warps` groups of 32 threads share a tile, and `stages` tiles are in flight.
    """

    queries: int
    keys: int
    width: int
    value_width: int
    warps: int
    stages: int

    @classmethod
    def of(
        cls,
        task: Task,
        queries: int,
        along: int,
        width: int,
        value_width: int,
        *,
        half: bool,
        weighed: bool = False,
    ) -> "Tiling":
        """The tiling for rows of `along` keys.

        In 16 bits and up to widths of 64 it is the fastest of those that were measured. Of two
        lengths, the one that reaches the least beyond a row is taken. `half` tells that operands
        have 16 bits, whose products need fewer registers; `weighed`, that keys have logits of their
        own, whose parts take shared memory too: with wide heads more than some GPUs have for three
        stages.
        """
        width, value_width = (
            max(16, 1 << (each - 1).bit_length()) for each in (width, value_width)
        )
        widest = max(width, value_width)
        warps, stages = 4, 2
        if half:
            many, wide = queries > 512, widest > 32
            tall = 128 if many and widest <= 64 and task == ("both" if wide else "mix") else 64
            longest = 64 if widest <= 64 else 32
            warps, stages = (8 if tall == 128 and wide else 4), (1 if task == "keys" else 3)
            if weighed and wide and task == "both":
                stages = 2
        else:
            tall = longest = 32 if widest <= 32 else 16
        shorter = max(16, longest // 2)
        keys = min((longest, shorter), key=lambda size: (-(-along // size) * size, -size))
        return cls(tall, keys, width, value_width, warps, stages)
