import pytest
import torch
from torch.testing import assert_close

pytest.importorskip("triton", reason="Triton is not installed")


def test_a_number_splits_into_three_parts_of_fewer_bits_and_zeros():
    """In float16, which the interpreter has; bfloat16 has 3 bits less and the range of float32."""
    from quatrain.ops.attention.triton.key_logits_kernels import split_kernel

    numbers = torch.tensor([0.0, 1.0, -3.14159274, 1e-3, 12345.678, torch.nan, 1 / 3])
    parts = torch.full((7, 16), 9.0, dtype=torch.float16)
    split_kernel[(2,)](numbers, parts, 7, 4, 16)
    assert_close(parts.double().sum(1), numbers.double(), rtol=2**-24, atol=2**-24, equal_nan=True)
    assert not parts[:, 3:].any()
