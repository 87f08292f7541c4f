import pytest
import torch

from quatrain.ops.precision import autocast_disabled, upcast


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_becomes_single_and_nothing_is_lost(given, kept):
    assert upcast(torch.ones(2, dtype=given)).dtype == kept


def test_products_within_are_not_lowered_by_an_autocast_around():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with autocast_disabled(x):
            assert (x @ x).dtype == torch.float32


def test_tensors_without_numbers_are_let_through():
    with autocast_disabled(torch.empty(2, device="meta")):
        pass
