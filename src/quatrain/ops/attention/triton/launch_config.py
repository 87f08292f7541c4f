"""Tile sizes, warps and stages of the attention kernels.

Source: our own; measured on an NVIDIA H200, and bounded by the shared memory of smaller GPUs.
"""

from dataclasses import dataclass
from typing import Literal

Task = Literal["forward", "query_grads", "key_grads", "all_grads"]
"""Outputs; gradients of queries; gradients of keys; or gradients of queries and keys at once."""


@dataclass(frozen=True)
class LaunchConfig:
    """Queries and columns of keys per program, the padded widths, and Triton's launch options.

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
        row_length: int,
        width: int,
        value_width: int,
        *,
        half: bool,
        has_key_logits: bool = False,
    ) -> "LaunchConfig":
        """The configuration for rows of `row_length` keys.

        In 16 bits and up to widths of 64 it is the fastest of those that were measured. Of two tile
        lengths, the one that exceeds a row the least is taken. `half` means operands of 16 bits,
        whose products need fewer registers. The parts of key logits take shared memory: with wide
        heads more than some GPUs have for three stages.
        """
        width, value_width = (
            max(16, 1 << (size - 1).bit_length()) for size in (width, value_width)
        )
        widest = max(width, value_width)
        warps, stages = 4, 2
        if half:
            many, wide = queries > 512, widest > 32
            tall_task = "all_grads" if wide else "forward"
            tall = 128 if many and widest <= 64 and task == tall_task else 64
            longest = 64 if widest <= 64 else 32
            warps, stages = (8 if tall == 128 and wide else 4), (1 if task == "key_grads" else 3)
            if has_key_logits and wide and task == "all_grads":
                stages = 2
        else:
            tall = longest = 32 if widest <= 32 else 16
        shorter = max(16, longest // 2)
        keys = min((longest, shorter), key=lambda size: (-(-row_length // size) * size, -size))
        return cls(tall, keys, width, value_width, warps, stages)
