import itertools

import pytest
import torch
from torch.nn.functional import glu
from torch.testing import assert_close

from quatrain.nn import DynamicConv, LightweightConv


@pytest.mark.parametrize("kind", [DynamicConv, LightweightConv])
def test_a_softmax_kernel_is_convolved_with_each_channel(kind):
    """Equations 5 to 7 of the paper, position by position."""
    module = kind(4, kernel=3, groups=2, ndim=1).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    gated, mixed = glu(module.gate(x)), torch.zeros(1, 5, 4, dtype=torch.float64)
    predicted = kind is DynamicConv
    for q, c, j in itertools.product(range(5), range(4), range(3)):
        logits = module.kernel(gated[0, q]).view(2, 3) if predicted else module.kernel
        if 0 <= q + j - 1 < 5:
            mixed[0, q, c] += logits.softmax(-1)[c // 2, j] * gated[0, q + j - 1, c]
    assert_close(module(x), module.output(mixed))


@pytest.mark.parametrize("kind", [DynamicConv, LightweightConv])
def test_a_map_of_one_row_is_a_sequence(kind):
    """On such a map only the middle row of the kernel is used."""
    module = kind(4, kernel=3, groups=2).double()
    x = torch.randn(1, 4, 1, 6, dtype=torch.float64)
    gated = glu(module.gate(x.permute(0, 2, 3, 1)))[0, 0]
    if kind is DynamicConv:
        weights = module.kernel(gated).view(6, 2, 9).softmax(-1).view(6, 2, 3, 3)
    else:
        weights = module.kernel.softmax(-1).view(2, 3, 3).expand(6, 2, 3, 3)
    padded = torch.nn.functional.pad(gated, (0, 0, 1, 1)).view(8, 2, 2)
    mixed = torch.stack(
        [
            torch.einsum("gj,jgd->gd", weights[q, :, 1], padded[q : q + 3]).flatten()
            for q in range(6)
        ]
    )
    assert_close(module(x)[0, :, 0].T, module.output(mixed))
