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
def test_scripting_is_refused(name):
    module = Dropout(0.1) if name == "dropout" else parse_mixer(name, heads=2).build(16)
    for scripted in (module, nn.Sequential(nn.Identity(), nn.Sequential(module))):
        with pytest.raises(InputError) as caught:
            torch.jit.script(scripted)
        assert caught.value.field == "module"
    with pytest.raises(InputError):
        refuse_scripting(module)


@unchecked()  # within a trace sizes are tensors
@pytest.mark.filterwarnings("ignore:.*jit.trace.*deprecated", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize(
    ("name", "ndim"), [("1111", 1), ("0011", 2), ("modulated", 2), ("dynamic", 1)]
)
def test_tracing_warns_that_it_serves_one_size(name, ndim):
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
