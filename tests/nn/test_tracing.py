import pytest
import torch
from torch import nn

from laws import unchecked
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.tracing import record_call
from quatrain.specs import InputError

MIXERS = ["0010", "1111", "0100@3", "regular", "modulated", "dynamic@3", "0110+deformable"]


class Model(nn.Module):
    def __init__(self, mixer, ndim):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.mixer = nn.ReLU(), mixer.build(16, ndim=ndim)

    def forward(self, x, key_padding_mask=None):
        return self.mixer(self.before(x), key_padding_mask=key_padding_mask)


@pytest.mark.parametrize("text", MIXERS)
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_mixer_is_one_node_of_a_graph_for_all_sizes_and_masks(text, ndim):
    model = Model(parse_mixer(text, heads=2), ndim)
    with unchecked():
        graph = torch.fx.symbolic_trace(model)
    assert not [node for node in graph.graph.nodes if node.op == "call_function"] or "+" in text
    for length in (4, 5):
        x = torch.randn(2, length, 16) if ndim == 1 else torch.randn(2, 16, length, 3)
        mask = torch.zeros(2, length if ndim == 1 else 3 * length, dtype=torch.bool)
        mask[:, 2:] = True
        for each in (None, mask):
            torch.testing.assert_close(graph(x, each), model(x, each))


def test_a_mixer_itself_cannot_be_traced_and_tensors_are_not_recorded():
    mixer = parse_mixer("1111", heads=2).build(16)
    tracer = torch.fx.Tracer()
    tracer.root, tracer.submodule_paths = mixer, {mixer: ""}
    tracer.graph = torch.fx.Graph()
    proxy = torch.fx.Proxy(tracer.graph.placeholder("x"), tracer)
    with unchecked(), pytest.raises(InputError) as caught:
        mixer(proxy)
    assert caught.value.field == "root"
    with pytest.raises(TypeError, match="Tensor"):
        record_call(mixer, torch.zeros(1))
