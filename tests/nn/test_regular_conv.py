import torch
from torch.testing import assert_close

from quatrain.nn import RegularConv


def test_each_tap_is_a_head_that_attends_to_one_offset():
    """Equation 3 of the paper: A is 1 where k = q + p_m, and W_m is the tap's matrix."""
    module = RegularConv(4, kernel=3, ndim=1).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for q in range(5):
        for tap, p in enumerate((-1, 0, 1)):
            if 0 <= q + p < 5:
                expected[0, q] += module.weight[:, :, tap] @ x[0, q + p]
    assert_close(module(x), expected)
