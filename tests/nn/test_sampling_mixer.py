import pytest
import torch
from torch.testing import assert_close

from quatrain.nn import SamplingOffsets, capture_offsets, parse_mixer
from quatrain.ops.sampled_sum import sampled_sum

NAMES = ["deformable-attention", "dcnv3", "dcnv4@5"]
every_name = pytest.mark.parametrize("name", NAMES)


def built(name, ndim):
    torch.manual_seed(0)
    module = parse_mixer(name, heads=2).build(16, ndim, dtype=torch.float64)
    for parameter in (*module.offset.parameters(), *module.weights.parameters()):
        torch.nn.init.normal_(parameter, std=0.3)
    return module


def content(sizes):
    x = torch.randn(2, 16, *sizes, dtype=torch.float64)
    return x.transpose(1, 2) if len(sizes) == 1 else x


@every_name
@pytest.mark.parametrize(("sizes", "causal"), [((5, 4), False), ((7,), False), ((7,), True)])
def test_the_explained_positions_and_weights_give_the_output(name, sizes, causal):
    module, x = built(name, len(sizes)), content(sizes)
    padding = torch.zeros(2, torch.Size(sizes).numel(), dtype=torch.bool)
    padding[1, -2:] = True
    sampling = module.explain(x, causal=causal, key_padding_mask=padding)
    tokens = x.flatten(2).transpose(1, 2) if len(sizes) == 2 else x
    value = (module.value(tokens) * ~padding[..., None]).unflatten(-1, (module.heads, -1))
    positions, weights = sampling.positions[:, :, :, None], sampling.modulation[:, :, :, None]
    expected = module.output(sampled_sum(value, positions, weights, [sizes]).flatten(2))
    y = module(x, causal=causal, key_padding_mask=padding)
    assert_close(y.flatten(2).transpose(1, 2) if len(sizes) == 2 else y, expected)
    assert sampling.output_sizes == sizes
    if causal:
        assert (sampling.positions <= sampling.queries[:, None, None]).all()


@every_name
def test_its_offsets_are_captured(name):
    module, x = built(name, 2), content((5, 4))
    model = torch.nn.Sequential(torch.nn.ReLU(), module)
    with capture_offsets(model, at="1") as calls:
        y = model(x)
    assert torch.equal(y, model(x))
    [[sampling]] = calls.values()
    assert isinstance(sampling, SamplingOffsets)
    assert sampling.offset.shape == (2, 20, module.heads, module.points, 2)
    assert_close(sampling.modulation, module.explain(x.relu()).modulation)


@every_name
@pytest.mark.parametrize("ndim", [1, 2])
def test_both_methods_agree(name, ndim):
    module, x = built(name, ndim), content((6, 5)[:ndim])
    outputs = []
    for module.method in ("blockwise", "reference"):
        outputs.append(module(x, causal=ndim == 1))
    assert_close(*outputs)
