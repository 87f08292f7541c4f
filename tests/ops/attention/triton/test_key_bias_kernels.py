"""What no logit may show: the kernels write every number of it, and nothing beside it."""

import os

import pytest
import torch

from quatrain.ops.attention.triton.key_bias import KEYS, gradients_of_key_logits, key_logits

pytest.importorskip("triton", reason="Triton is not installed")
pytestmark = [
    pytest.mark.skipif("TRITON_INTERPRET" not in os.environ, reason="nothing interprets kernels"),
]


@pytest.mark.parametrize("keys", [1, KEYS - 1, KEYS, KEYS + 1])
def test_every_number_is_written_where_tiles_end_and_where_they_do_not(keys, monkeypatch):
    empty = torch.Tensor.new_empty

    def poisoned(self, *shape, **named):
        return empty(self, *shape, **named).fill_(torch.nan)

    monkeypatch.setattr(torch.Tensor, "new_empty", poisoned)
    value, key, bias = torch.ones(2, 3, keys, 4), torch.ones(2, 3, keys, 5), torch.ones(3, 5)
    logits = key_logits(value, key, bias, None, 2.0)
    assert logits.unique().tolist() == [10.0]
    to_key, to_bias = gradients_of_key_logits(torch.ones(2, 3, keys), key, bias, 2.0)
    assert to_key.unique().tolist() == [2.0]
    assert to_bias.unique().tolist() == [4.0 * keys]
