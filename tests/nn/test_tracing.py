import pytest
import torch
from torch import nn

from laws import unchecked
from quatrain.nn.layers import Dropout
from quatrain.nn.mixers import parse_mixer
from quatrain.nn.tracing import check_not_scripted, record_call, warn_of_tracing
from quatrain.specs import InputError

TRACED = ["0010", "1111", "0100@3", "regular", "modulated", "dynamic@3", "0110+deformable"]
TRACED += ["deformable-attention", "dcnv3"]
SCRIPTED = ["1111", "0010", "regular", "deformable", "dynamic", "lightweight", "0010+deformable"]
SCRIPTED += ["deformable-attention", "dcnv4"]


class Model(nn.Module):
    def __init__(self, mixer, ndim):
        super().__init__()
        torch.manual_seed(0)
        self.before, self.mixer = nn.ReLU(), mixer.build(16, ndim=ndim)

    def forward(self, x, key_padding_mask=None):
        return self.mixer(self.before(x), key_padding_mask=key_padding_mask)


@pytest.mark.parametrize("text", TRACED)
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


@pytest.mark.filterwarnings("ignore:.*jit.script.*deprecated")
@pytest.mark.parametrize("name", [*SCRIPTED, "dropout"])
def test_scripting_is_refused(name):
    module = Dropout(0.1) if name == "dropout" else parse_mixer(name, heads=2).build(16)
    for scripted in (module, nn.Sequential(nn.Identity(), nn.Sequential(module))):
        with pytest.raises(InputError) as caught:
            torch.jit.script(scripted)
        assert caught.value.field == "module"
    with pytest.raises(InputError):
        check_not_scripted(module)


@unchecked()  # within a trace sizes are tensors
@pytest.mark.filterwarnings("ignore:.*jit.trace.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("name", "ndim"), [("1111", 1), ("0011", 2), ("modulated", 2), ("dynamic", 1)]
)
def test_tracing_warns_that_a_trace_is_for_one_size(name, ndim):
    module = parse_mixer(name, heads=2).build(16, ndim=ndim).eval()
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 4, 5))
    with pytest.warns(UserWarning, match="size only"):
        traced = torch.jit.trace(module, x)
    torch.testing.assert_close(traced(x), module(x))


@unchecked()  # within a trace sizes are tensors
@pytest.mark.filterwarnings("ignore:.*jit.trace.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:a trace of")
def test_custom_operators_cannot_be_traced_but_the_reference_can():
    module, x = parse_mixer("1111", heads=2).build(16).eval(), torch.randn(1, 16, 24, 24)
    with pytest.raises(InputError) as caught:
        torch.jit.trace(module, x)
    assert caught.value.field == "method"
    module.method = "reference"
    torch.testing.assert_close(torch.jit.trace(module, x)(x), module(x))


def test_there_is_no_warning_outside_of_a_trace():
    warn_of_tracing(nn.Identity())
