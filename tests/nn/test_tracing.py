import pytest
import torch
from torch import nn

from laws import unchecked
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.tracing import record_call
from quatrain.specs import InputError

MIXERS = ["0010", "1111", "0100@3", "regular", "modulated", "dynamic@3", "0110+deformable"]


class Holds(nn.Module):
    def __init__(self, mixer, ndim):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.mixer = nn.ReLU(), mixer.build(16, ndim=ndim)

    def forward(self, x, key_padding_mask=None):
        return self.mixer(self.before(x), key_padding_mask=key_padding_mask)


@pytest.mark.parametrize("text", MIXERS)
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_mixer_is_one_call_in_a_graph_that_serves_other_sizes_and_masks(text, ndim):
    model = Holds(parse_mixer(text, heads=2), ndim)
    with unchecked():
        drawn = torch.fx.symbolic_trace(model)
    assert not [node for node in drawn.graph.nodes if node.op == "call_function"] or "+" in text
    for length in (4, 5):
        x = torch.randn(2, length, 16) if ndim == 1 else torch.randn(2, 16, length, 3)
        mask = torch.zeros(2, length if ndim == 1 else 3 * length, dtype=torch.bool)
        mask[:, 2:] = True
        for each in (None, mask):
            torch.testing.assert_close(drawn(x, each), model(x, each))


def test_a_mixer_alone_is_no_graph_and_no_tensor_is_recorded():
    mixer = parse_mixer("1111", heads=2).build(16)
    tracer = torch.fx.Tracer()
    tracer.root, tracer.submodule_paths = mixer, {mixer: ""}
    tracer.graph = torch.fx.Graph()
    proxy = torch.fx.Proxy(tracer.graph.placeholder("x"), tracer)
    with unchecked(), pytest.raises(InputError, match="trace the model that holds it"):
        mixer(proxy)
    with pytest.raises(TypeError, match="Tensor belongs to no tracer"):
        record_call(mixer, torch.zeros(1))
