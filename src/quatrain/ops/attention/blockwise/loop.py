"""The loop over query blocks, forward and backward.

Each block is computed in one of two ways. The softmax of its logits (`softmax`) applies to
everything, and stores the weights of one block. On maps without the term E1 the weights are a
product over rows and columns (`factored_softmax`), and none are stored; a block for which this may
be inexact is computed again by the softmax, inside of the loop, so that plan and graph do not
depend on the numbers.

Shapes: b batch, h heads, q queries, n queries of a block, k keys that it reaches, d width of a key,
e width of a value.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from operator import attrgetter

from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.blockwise import factored_softmax, softmax
from quatrain.ops.attention.blockwise.factored_softmax import AxisWeights, WeightedValues
from quatrain.ops.attention.blockwise.inputs import BlockwiseInputs, accumulate, mask_value
from quatrain.ops.attention.blockwise.query_block import (
    QueryBlock,
    block_position_bias,
    block_position_bias_backward,
    query_blocks,
)
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure

MAX_NUMBERS = 2**21
"""Numbers in memory at once; one head of one block may exceed it.

With fewer, products get slower: on two cores with 8 MiB of cache, a quarter of it takes 1.15 to 1.4
times as long on a map of 96 x 96.
"""


def numbers_per_head(block: QueryBlock, width: int, *, factored: bool) -> int:
    """How many numbers one head of a block needs.

    These are the weights; or, if factored, row sums of values of this width, and the column bias
    three times: by relative position, by key, and as its softmax.
    """
    rows, columns = math.prod(map(len, block.keys[:-1])), len(block.keys[-1])
    return block.count * (rows * (width + 1) + 3 * columns if factored else rows * columns)


def group_size(
    grid: Grid, batch: int, heads: int, width: int, *, factored: bool
) -> tuple[int, int]:
    """How many batch elements and heads to compute at once: about `MAX_NUMBERS` in all."""
    largest = max(
        numbers_per_head(block, width, factored=factored)
        for block in query_blocks(grid, Structure())
    )
    group_heads = max(1, min(heads, MAX_NUMBERS // largest))
    elements = max(1, MAX_NUMBERS // (largest * heads)) if group_heads == heads else 1
    groups = -(-heads // group_heads)
    return max(1, min(batch, elements)), -(-heads // groups)


@dataclass(frozen=True)
class BlockLoop:
    """One blockwise attention; `factored` tries the factored softmax first.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2.
    """

    inputs: BlockwiseInputs
    grid: Grid
    structure: Structure
    factored: bool = False

    def forward(self) -> Float[Tensor, "b h q e"]:
        """The weighted sum of values of each query, block by block."""
        batch, heads, _, width = self.inputs.value.shape
        output = self.inputs.value.new_zeros(batch, heads, math.prod(self.grid.queries), width)
        for group in self._groups():
            self._forward_group(output[group], self.inputs.select(*group))
        return output

    def backward(
        self, output: Float[Tensor, "b h q e"], grad_output: Float[Tensor, "b h q e"]
    ) -> BlockwiseInputs:
        """Gradients of all inputs, from the output of `forward` and its gradient."""
        grads = self.inputs.zero_grads()
        for group in self._groups():
            inputs, group_grads = self.inputs.select(*group), grads.select(*group)
            self._backward_group(inputs, group_grads, output[group], grad_output[group])
        return grads

    def _groups(self) -> Iterator[tuple[slice, slice]]:
        """Slices of batch elements and heads that are computed at once."""
        batch, heads, _, width = self.inputs.value.shape
        elements, group_heads = group_size(self.grid, batch, heads, width, factored=self.factored)
        for element in range(0, batch, elements):
            for head in range(0, heads, group_heads):
                yield slice(element, element + elements), slice(head, head + group_heads)

    def _forward_group(self, output: Float[Tensor, "b h q e"], inputs: BlockwiseInputs) -> None:
        """Write the outputs of a group of batch elements and heads."""
        transposed = softmax.TransposedInputs(inputs)
        for blocks, keys in self._blocks_by_keys(inputs):
            for block in blocks:
                biases = self._position_biases(inputs, block)
                sums = None
                if keys is not None:
                    axis_weights = AxisWeights.of(biases, null_key=self.structure.null_key)
                    sums = factored_softmax.factored_sums(axis_weights, keys)
                if sums is None:
                    weights = softmax.softmax_weights(transposed, block, biases, self.structure)
                    output[:, :, block.queries] = weights @ block.narrow_flat(inputs.value, 2)
                else:
                    output[:, :, block.queries] = sums.output

    def _backward_group(
        self,
        inputs: BlockwiseInputs,
        grads: BlockwiseInputs,
        output: Float[Tensor, "b h q e"],
        grad_output: Float[Tensor, "b h q e"],
    ) -> None:
        """Add the gradients of all blocks to those of a group of batch elements and heads."""
        transposed = softmax.TransposedInputs(inputs)
        for blocks, keys in self._blocks_by_keys(inputs):
            for block in blocks:
                biases = self._position_biases(inputs, block)
                outputs = output[:, :, block.queries], grad_output[:, :, block.queries]
                bias_grads = None
                if keys is not None:
                    axis_weights = AxisWeights.of(biases, null_key=self.structure.null_key)
                    bias_grads = factored_softmax.factored_backward(axis_weights, keys, *outputs)
                if bias_grads is None:
                    weights = softmax.softmax_weights(transposed, block, biases, self.structure)
                    bias_grads = softmax.softmax_backward(
                        weights, transposed, grads, block, *outputs
                    )
                _accumulate_position_grads(bias_grads, inputs, grads, block)
            if keys is not None:
                grad_value, grad_logits = keys.gradients()
                accumulate(blocks[0].narrow(grads.value, 2), grad_value)
                if grads.key_logits is not None:
                    accumulate(blocks[0].narrow(grads.key_logits, 2), grad_logits)

    def _blocks_by_keys(
        self, inputs: BlockwiseInputs
    ) -> Iterator[tuple[list[QueryBlock], WeightedValues | None]]:
        """Runs of blocks that reach the same keys, if any, with these keys where factored."""
        every = query_blocks(self.grid, self.structure)
        for keys, run in itertools.groupby(every, key=attrgetter("keys")):
            if not all(keys):
                continue
            blocks, weighted = list(run), None
            if self.factored:
                narrow, logits = blocks[0].narrow, inputs.key_logits
                weighted = WeightedValues.of(
                    narrow(inputs.value, 2), None if logits is None else narrow(logits, 2)
                )
            yield blocks, weighted

    def _position_biases(self, inputs: BlockwiseInputs, block: QueryBlock) -> list[Tensor]:
        """The position bias of each axis, masked where causality or window exclude a key."""
        biases = []
        if inputs.position_query is not None:
            query = inputs.position_query
            query = query if query.shape[2] == 1 else query[:, :, block.queries]
            biases = [
                block_position_bias(query, encoding, block, axis)
                for axis, encoding in enumerate(inputs.relative)
            ]
        if not self.structure.causal and self.structure.window is None:
            return biases
        last = block.grid.ndim - 1
        outside = ~self.structure.allows(block.relative_matrix(last, inputs.value.device))
        if not biases:
            zero = inputs.value.new_zeros(())
            biases = [zero.expand(1, 1, 1, len(block.keys[0]))] * last
            biases.append(zero.expand(1, 1, block.count, len(block.keys[-1])))
        biases[last] = biases[last].masked_fill(outside, mask_value(inputs.value.dtype))
        return biases


def _accumulate_position_grads(
    bias_grads: tuple[Tensor, ...],
    inputs: BlockwiseInputs,
    grads: BlockwiseInputs,
    block: QueryBlock,
) -> None:
    """Add the gradients of position queries and encodings of one block."""
    if inputs.position_query is None or grads.position_query is None:
        return
    queries = slice(None) if inputs.position_query.shape[2] == 1 else block.queries
    query = inputs.position_query[:, :, queries]
    for axis, grad_bias in enumerate(bias_grads):
        encoding = inputs.relative[axis]
        grad_query, grad_encoding = block_position_bias_backward(
            grad_bias, query, encoding, block, axis
        )
        accumulate(grads.position_query[:, :, queries], grad_query)
        grads.relative[axis][:, block.relative_slice(axis)] += grad_encoding
