import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from laws import operands
from quatrain.ops import gpu_counts
from quatrain.ops.attention import augmented
from quatrain.ops.attention.triton import attention as mix_by_tiles
from quatrain.ops.attention.triton import forward_backward as tiled
from quatrain.ops.attention.triton import position_bias as tables
from quatrain.ops.counts import AttentionSize
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import ALL_TERM_SETS, Term

GRID = Grid((5, 7), (3, 4), 2)
BATCH, HEADS, CHANNELS = 2, 2, 6
SIZE = AttentionSize(BATCH, GRID, CHANNELS, heads=HEADS)


@pytest.mark.parametrize("terms", ALL_TERM_SETS, ids=str)
def test_the_products_with_positions_as_channels_are_those_of_the_closed_form(terms):
    made = operands(terms, GRID, batch=BATCH, heads=HEADS, widths=(3, 3))
    padded = Support(key_padding_mask=torch.zeros(BATCH, 12, dtype=torch.bool))
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        augmented.attend(terms, made, GRID, padded)
    assert counter.get_total_flops() == 2 * gpu_counts.augmented(terms, SIZE)


@pytest.mark.parametrize("terms", ["1111", "1001", "0110", "0011", "0001"])
def test_tables_of_tiles_and_their_gradients_are_those_of_the_closed_form(terms, monkeypatch):
    terms = Term.parse(terms)
    lines = not terms.use_query
    made = operands(terms, GRID, batch=BATCH, heads=HEADS, widths=(3, 3))
    call = tables.Call(terms, made, GRID, axial=lines)
    there = tiled.like(call, padded=False)
    held = there.rows.numel() + there.columns.numel()
    assert held == gpu_counts.position_bias_held(terms, SIZE, axial=lines)

    at_once = []

    def note(task, factors, entering, written, **flags):
        del entering, flags
        assert task == "both"
        _, to_rows, to_columns, *_ = written
        there = (x for x in (to_rows, to_columns) if x is not factors.value)
        at_once.append(sum(x.numel() for x in there))

    monkeypatch.setattr(mix_by_tiles, "_launch", note)
    monkeypatch.setattr(tables, "_launch", lambda *_, **__: None)
    monkeypatch.setattr(tiled, "gradients_of_key_logits", lambda *_: (None, None))
    tiled.gradients_of(call, there, torch.zeros_like(there.mixed))
    assert len(at_once) == 1 + lines
    learning = gpu_counts.position_bias_held(terms, SIZE, axial=lines, training=True)
    assert learning == held + max(at_once)
