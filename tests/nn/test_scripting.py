import pytest
import torch
from torch import nn

from laws import unchecked
from quatrain.nn import parse_mixer
from quatrain.nn.dropout import Dropout
from quatrain.nn.scripting import refuse_scripting, warn_of_tracing
from quatrain.specs import InputError

MIXERS = ["1111", "0010", "regular", "deformable", "dynamic", "lightweight", "0010+deformable"]


@pytest.mark.filterwarnings("ignore:.*jit.script.*deprecated")
@pytest.mark.parametrize("name", [*MIXERS, "dropout"])
def test_a_script_is_refused_with_what_to_do_instead_wherever_the_module_lies(name):
    module = Dropout(0.1) if name == "dropout" else parse_mixer(name, heads=2).build(16)
    for scripted in (module, nn.Sequential(nn.Identity(), nn.Sequential(module))):
        with pytest.raises(InputError, match=r"torch\.jit\.script.*torch\.export"):
            torch.jit.script(scripted)
    with pytest.raises(InputError):
        refuse_scripting(module)


@unchecked()  # within a trace sizes are tensors
@pytest.mark.filterwarnings("ignore:.*jit.trace.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", ["1111", "0011", "deformable", "modulated", "dynamic"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_trace_says_that_it_serves_one_size(name, ndim):
    module = parse_mixer(name, heads=2).build(16, ndim=ndim).eval()
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 4, 5))
    with pytest.warns(UserWarning, match="its example's size only; torch.export"):
        traced = torch.jit.trace(module, x)
    torch.testing.assert_close(traced(x), module(x))


@unchecked()  # within a trace sizes are tensors
@pytest.mark.filterwarnings("ignore:.*jit.trace.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.filterwarnings("ignore:a trace of")
def test_an_operator_of_ours_cannot_be_traced_and_says_what_can():
    module, x = parse_mixer("1111", heads=2).build(16).eval(), torch.randn(1, 16, 24, 24)
    with pytest.raises(InputError, match=r"torch\.jit\.trace.*method = \"reference\""):
        torch.jit.trace(module, x)
    module.method = "reference"
    torch.testing.assert_close(torch.jit.trace(module, x)(x), module(x))


def test_outside_of_a_trace_nothing_is_said():
    warn_of_tracing(nn.Identity())
