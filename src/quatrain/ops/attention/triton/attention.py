"""Launches of the attention kernels: weighted sums of values, and their gradients.

`attention_kernels` says what they compute and how.

Shapes: b batch, h heads, n attentions of a batch element and head; q queries and k keys of one of
them, nq and nk of all; d width of queries and keys, e width of a value, y rows and x columns of
keys; #b is 1 where all batch elements share the biases; p parts of a logit of a key.
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float
from torch import Tensor

from quatrain.ops.attention.triton.key_logits import PARTS
from quatrain.ops.attention.triton.position_bias import UNLIMITED_REACH, fill_missing

Task = Literal["forward", "query_grads", "key_grads", "all_grads"]
"""Outputs; gradients of queries; gradients of keys; or gradients of queries and keys at once."""


@dataclass(frozen=True)
class LaunchConfig:
    """Queries and columns of keys per program, the padded widths, and Triton's launch options.

    `warps` groups of 32 threads share a tile, and `stages` tiles are in flight.

    Source: our own; measured on an NVIDIA H200, and bounded by the shared memory of smaller GPUs.
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


@dataclass(frozen=True)
class Band:
    """Rows of keys within reach of a query: of `across` queries per row, and keys of this stride.

    `reach` is a distance in rows of queries, before and after a query's own; None for all rows.
    """

    across: int = 1
    stride: int = 1
    reach: int | None = None


UNLIMITED = Band()


@dataclass(frozen=True)
class KernelInputs:
    """Queries, keys, values, biases and masks of the attention kernels; all are contiguous.

    A batch element and head may have n attentions that share biases: `outer` one after the other,
    or `inner` interleaved, the first query of each before the second of any; so for keys. Rows of
    keys beyond the band are skipped, which requires that biases mask them. `key_logits` are
    numbers, or their parts where values have 16 bits (`key_logits.split_into_parts`).
    """

    value: Float[Tensor, "b h nk e"]
    column_bias: Float[Tensor, "#b h q x"]
    row_bias: Float[Tensor, "#b h y q"] | None = None
    query: Float[Tensor, "b h nq d"] | None = None
    key: Float[Tensor, "b h nk d"] | None = None
    key_logits: Float[Tensor, "b h nk *p"] | None = None
    outer: int = 1
    inner: int = 1
    band: Band = UNLIMITED

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Tensors in the order of the kernels, with the values in place of missing ones."""
        by_key = (self.key, self.key_logits)
        tensors = (self.query, *by_key, self.row_bias, self.column_bias, self.value)
        return fill_missing(tensors, self.value)


def attention_forward(
    inputs: KernelInputs,
) -> tuple[Float[Tensor, "b h nq e"], Float[Tensor, "b h nq"]]:
    """The weighted sum of values, and the logsumexp of the logits.

    Where all keys are masked, the lse is at most `position_bias.MASK_THRESHOLD` and the sum zero.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, equation 2; Dao 2023,
        https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value, column_bias = inputs.value, inputs.column_bias
    batch, heads, _, width = value.shape
    queries = column_bias.shape[2] * inputs.outer * inputs.inner
    output = value.new_empty(batch, heads, queries, width)
    lse = column_bias.new_empty(batch, heads, queries)
    _launch("forward", inputs, output, lse)
    return output, lse


def attention_backward(
    inputs: KernelInputs,
    output: Float[Tensor, "b h nq e"],
    lse: Float[Tensor, "b h nq"],
    grad_output: Float[Tensor, "b h nq e"],
    grad_lse: Float[Tensor, "b h nq"] | None = None,
) -> KernelInputs:
    """Gradients of all inputs, from those of the output and, if any, of the lse.

    Those of key logits are numbers, not parts.

    Source: Dao 2023, https://arxiv.org/abs/2307.08691, section 3.1.
    """
    value, column_bias, row_bias = inputs.value, inputs.column_bias, inputs.row_bias
    query, key = inputs.query, inputs.key
    lead = (*value.shape[:2], inputs.outer * inputs.inner)
    grad_query = None if query is None else torch.empty_like(query)
    grad_rows = None
    if row_bias is not None:
        allocate = row_bias.new_empty if inputs.band.reach is None else row_bias.new_zeros
        grad_rows = allocate(*lead, *row_bias.shape[2:])
    grad_columns = column_bias.new_empty(*lead, *column_bias.shape[2:])
    deterministic = torch.are_deterministic_algorithms_enabled()
    allocate = lse.new_empty if deterministic else lse.new_zeros
    grad_logits = None if inputs.key_logits is None else allocate(value.shape[:3])
    dtype = value.dtype if deterministic else lse.dtype
    grad_key = None if key is None else allocate(key.shape, dtype=dtype)
    grad_value = allocate(value.shape, dtype=dtype)
    incoming = (lse, output, grad_output, grad_output if grad_lse is None else grad_lse)
    grads = (grad_query, grad_rows, grad_columns, grad_key, grad_logits, grad_value)
    outputs = fill_missing(grads, value)
    flags = {"HAS_LSE_GRAD": grad_lse is not None, "KEY_GRADS": not deterministic}
    if deterministic:
        means = torch.empty_like(lse)
        _launch("query_grads", inputs, (*incoming, means), outputs, **flags)
        _launch("key_grads", inputs, (*incoming, means), outputs)
    else:
        _launch("all_grads", inputs, (*incoming, lse), outputs, **flags)
    return KernelInputs(
        grad_value.to(value.dtype),
        _sum_shared(grad_columns, column_bias),
        None if row_bias is None or grad_rows is None else _sum_shared(grad_rows, row_bias),
        grad_query,
        None if key is None or grad_key is None else grad_key.to(key.dtype),
        grad_logits,
    )


def _sum_shared(grads: Float[Tensor, "b h n _ _"], like: Float[Tensor, "#b h _ _"]) -> Tensor:
    """The sum over all attentions that share a bias; a view where none do."""
    total = grads.sum(2) if grads.shape[2] > 1 else grads[:, :, 0]
    return total.sum_to_size(like.shape)


def _launch(
    task: Task, inputs: KernelInputs, *rest: Tensor | tuple[Tensor, ...], **flags: bool
) -> None:
    """Run a kernel for every tile of queries, or of keys, of every attention."""
    from quatrain.ops.attention.triton import attention_kernels as kernels

    value, column_bias, key = inputs.value, inputs.column_bias, inputs.key
    batch, heads, keys, value_width = value.shape
    queries, columns = column_bias.shape[2:]
    attentions = inputs.outer * inputs.inner
    if not batch * heads * attentions:
        return
    rows = keys // (columns * attentions)
    config = LaunchConfig.of(
        task,
        queries,
        columns,
        value_width if key is None else key.shape[-1],
        value_width,
        half=value.dtype.itemsize == 2,
        has_key_logits=inputs.key_logits is not None,
    )
    if task == "key_grads":
        tiles = -(-columns // config.keys) * rows
    else:
        tiles = -(-queries // config.queries)
    kernel: Any = {
        "forward": kernels.attention_forward_kernel,
        "key_grads": kernels.key_grads_kernel,
    }.get(task, kernels.query_grads_kernel)
    logits, band = inputs.key_logits, inputs.band
    kernel[(tiles * batch * heads * attentions,)](
        inputs.tensors,
        *rest,
        0.0,
        (
            queries,
            rows,
            columns,
            config.width if key is None else key.shape[-1],
            value_width,
            column_bias.shape[0] * heads,
            inputs.outer,
            inputs.inner,
            band.across,
            band.stride,
            UNLIMITED_REACH if band.reach is None else band.reach,
        ),
        config.queries,
        config.keys,
        config.width,
        config.value_width,
        HAS_CONTENT=key is not None,
        KEY_LOGITS=0 if logits is None else PARTS if logits.ndim == 4 else 1,
        HAS_ROW_BIAS=inputs.row_bias is not None,
        HAS_MASK=logits is not None or band.reach is not None,
        **flags,
        num_warps=config.warps,
        num_stages=config.stages,
    )
