import torch

from quatrain.nn.mixers import parse_mixer
from quatrain.nn.residual import GatedResidual


def test_it_is_the_identity_at_first_bit_for_bit_and_learns_its_gate_then_its_mixer():
    torch.manual_seed(0)
    block = GatedResidual(parse_mixer("1111", heads=2).build(8))
    x = torch.randn(2, 8, 3, 5)
    assert torch.equal(block(x), x)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    for reached in (False, True):
        optimizer.zero_grad()
        block(x).square().sum().backward()
        assert bool(block.gamma.grad.abs() > 0)
        assert bool(block.mixer.value.weight.grad.abs().sum() > 0) is reached
        optimizer.step()
