from dataclasses import replace

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from laws import Case, operands
from quatrain.ops import gpu_counts
from quatrain.ops.attention.augmented import augmented_attention
from quatrain.ops.attention.triton import attention, forward_backward, position_bias
from quatrain.ops.counts import AttentionSize
from quatrain.ops.positions import Grid
from quatrain.ops.support import Structure, Support
from quatrain.specs import ALL_TERM_SETS, Term

GRID = Grid((5, 7), (3, 4), 2)
BATCH, HEADS = 2, 2
SIZE = AttentionSize(BATCH, GRID, 6, heads=HEADS)


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
@pytest.mark.parametrize("null_key", [False, True])
def test_executed_products_of_augmented_attention_match_the_closed_form(terms, null_key):
    x = operands(terms, GRID, batch=BATCH, heads=HEADS, widths=(3, 3))
    padding = torch.zeros(BATCH, 12, dtype=torch.bool)
    support = Support(key_padding_mask=padding, null_key=null_key)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        augmented_attention(Case(terms, x, GRID, support))
    size = replace(SIZE, structure=Structure(null_key=null_key))
    assert counter.get_total_flops() == 2 * gpu_counts.augmented(terms, size)


@pytest.mark.parametrize("terms", ["1111", "1001", "0110", "0011", "0001"])
def test_position_biases_and_their_gradients_match_the_closed_form(terms, monkeypatch):
    terms = Term.parse(terms)
    axial = not terms.use_query
    x = operands(terms, GRID, batch=BATCH, heads=HEADS, widths=(3, 3))
    call = position_bias.AttentionCall(terms, x, GRID, axial=axial)
    result = forward_backward.empty_output(call, padded=False)
    stored = result.row_bias.numel() + result.column_bias.numel()
    assert stored == gpu_counts.stored_position_bias(terms, SIZE, axial=axial)

    grad_sizes = []

    def record_sizes(task, inputs, incoming, outputs, **flags):
        del incoming, flags
        assert task == "all_grads"
        _, grad_rows, grad_columns, *_ = outputs
        grads = (x for x in (grad_rows, grad_columns) if x is not inputs.value)
        grad_sizes.append(sum(x.numel() for x in grads))

    monkeypatch.setattr(attention, "_launch", record_sizes)
    monkeypatch.setattr(position_bias, "_launch", lambda *_, **__: None)
    monkeypatch.setattr(forward_backward, "masked_key_logits_backward", lambda *_: (None, None))
    forward_backward.backward(call, result, torch.zeros_like(result.output))
    assert len(grad_sizes) == 1 + axial
    training = gpu_counts.stored_position_bias(terms, SIZE, axial=axial, training=True)
    assert training == stored + max(grad_sizes)
