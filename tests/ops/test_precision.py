import pytest
import torch

from quatrain.ops.precision import autocast_disabled, upcast


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_half_precision_becomes_float32(dtype, expected):
    assert upcast(torch.ones(2, dtype=dtype)).dtype == expected


def test_autocast_is_disabled():
    x = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        with autocast_disabled(x):
            assert (x @ x).dtype == torch.float32


def test_meta_tensors_pass():
    with autocast_disabled(torch.empty(2, device="meta")):
        pass
