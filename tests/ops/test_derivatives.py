from types import SimpleNamespace

import pytest
import torch
from torch.autograd import forward_ad
from torch.testing import assert_close

from quatrain.nn import AttentionSpec, parse_mixer
from quatrain.ops.attention import fused
from quatrain.ops.derivatives import (
    REFERENCE,
    refuse_nested_transforms,
    refuse_second_derivatives,
    refuse_second_derivatives_of,
    refuse_tangents,
    refuse_transforms,
    refuse_vmap,
)
from quatrain.specs import InputError

BY_KERNELS = [("1111", (1, 300, 8)), ("0110", (1, 8, 24, 24)), ("1010", (2, 20, 8))]
kernels = pytest.mark.parametrize(("terms", "shape"), BY_KERNELS)


def attention_on(terms, shape):
    torch.manual_seed(0)
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=len(shape) - 2).double()
    return module, torch.randn(shape, dtype=torch.float64, requires_grad=True)


def slopes(module, x):
    return torch.autograd.grad(module(x).sin().sum(), x, create_graph=True)[0]


def around(function, x, direction, step=1e-6):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@pytest.mark.parametrize(
    ("terms", "shape"), [("1111", (2, 2, 300, 8)), ("0110", (2, 1, 8, 24, 24))]
)
@pytest.mark.parametrize("learns", [True, False])
@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")  # torch's own, for this mode
def test_a_method_without_forward_derivatives_says_so(terms, shape, learns):
    attention, x = attention_on(terms, shape[1:])
    attention.requires_grad_(learns)
    x, tangent = x.detach(), torch.randn_like(x)
    with pytest.raises(InputError, match=r"torch\.func\.jvp"):
        torch.func.jvp(attention, (x,), (tangent,))
    with pytest.raises(InputError), forward_ad.dual_level():
        attention(forward_ad.make_dual(x, tangent))
    output, found = torch.func.jvp(lambda x: attention(x, method="reference"), (x,), (tangent,))
    assert_close(found, around(attention, x, tangent), rtol=1e-5, atol=1e-6)
    assert_close(output, attention(x))


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
@pytest.mark.parametrize("name", ["1010", "deformable", "modulated", "dynamic"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_tangents_are_never_left_behind(name, ndim):
    module = parse_mixer(name, heads=2).build(16, ndim=ndim)
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 3, 4))
    with pytest.raises(InputError, match="a dual tensor"):
        torch.func.jvp(module, (x,), (torch.ones_like(x),))


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
def test_torchvisions_kernel_is_not_asked_for_derivatives_that_it_does_not_have():
    module, x = parse_mixer("deformable").build(4).double(), torch.randn(1, 4, 3, 4).double()
    module.method = "torchvision"
    with pytest.raises(InputError, match="reverse mode"):
        torch.func.jvp(module, (x,), (x,))
    with pytest.raises(InputError, match=r"within torch\.func"):
        torch.func.vmap(module)(x[None])
    with pytest.raises(InputError, match='method = "gather"'):
        slopes(module, x.requires_grad_()).sum().backward()


@kernels
def test_gradients_that_are_final_say_so_when_they_are_differentiated(terms, shape):
    attention, x = attention_on(terms, shape)
    sentence = r'second derivatives of this operator.*: set `method = "reference"` on the attention'
    with pytest.raises(InputError, match=sentence):
        slopes(attention, x).square().sum().backward()
    with pytest.raises(InputError, match=sentence):
        torch.autograd.functional.hvp(lambda x: attention(x).sin().sum(), x, torch.ones_like(x))


@kernels
def test_gradients_of_a_graph_that_nobody_differentiates_again_are_the_same(terms, shape):
    attention, x = attention_on(terms, shape)
    (expected,) = torch.autograd.grad(attention(x).sin().sum(), x)
    assert_close(slopes(attention, x), expected, rtol=0, atol=0)


@kernels
def test_the_remedy_has_second_derivatives(terms, shape):
    attention, x = attention_on(terms, shape)
    attention.method = "reference"
    direction = torch.randn_like(x)
    (found,) = torch.autograd.grad(slopes(attention, x), x, direction)
    expected = around(lambda x: slopes(attention, x), x.detach().requires_grad_(), direction)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("terms", "shape"), [("0010", (1, 70, 8)), ("0011", (1, 8, 5, 6))])
def test_pooled_and_separable_have_second_derivatives(terms, shape):
    attention, x = attention_on(terms, shape)
    direction = torch.randn_like(x)
    (found,) = torch.autograd.grad(slopes(attention, x), x, direction)
    expected = around(lambda x: slopes(attention, x), x.detach().requires_grad_(), direction)
    assert_close(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("terms", "shape"), BY_KERNELS[:2])
def test_within_torch_func_an_operator_of_ours_says_so(terms, shape):
    attention, x = attention_on(terms, shape)

    def loss(x):
        return attention(x).sin().sum()

    for transformed in (torch.func.grad(loss), lambda x: torch.func.vmap(loss)(x[None])):
        with pytest.raises(InputError, match=r"within torch.func.*method = \"reference\""):
            transformed(x)
    attention.method = "reference"
    assert_close(torch.func.grad(loss)(x), slopes(attention, x))


def by_torch_func(loss):
    gradient = torch.func.grad(loss)
    return {
        "grad of grad": torch.func.grad(lambda x: gradient(x).sin().sum()),
        "vjp of grad": lambda x: torch.func.vjp(gradient, x)[1](x),
        "hessian": torch.func.hessian(loss),
        "vmap of grad of grad": lambda x: torch.func.vmap(
            torch.func.grad(lambda x: gradient(x).sin().sum())
        )(x[None]),
    }


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
@pytest.mark.parametrize("kind", by_torch_func(torch.sum))
@pytest.mark.parametrize("augmented", [False, True])
def test_second_derivatives_by_torch_func_are_refused_in_a_sentence(kind, augmented, monkeypatch):
    attention, x = attention_on("1010", (1, 8, 3, 4) if augmented else (1, 20, 8))
    if augmented:
        monkeypatch.setattr(fused, "_by_sdpa", lambda *_, **__: pytest.fail("not augmented"))
        monkeypatch.setattr(
            fused, "plan_for_operands", lambda *_: SimpleNamespace(kernel="augmented")
        )
    attention.method = "fused"
    with pytest.raises(InputError, match=r"second derivatives.*method = \"reference\""):
        by_torch_func(lambda x: attention(x).sin().sum())[kind](x.detach())


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["1010", "0010"])
def test_first_derivatives_by_torch_func_stay_allowed(name):
    attention, x = attention_on(name, (1, 20, 8))
    attention.method = "auto"
    loss = lambda x: attention(x).sin().sum()  # noqa: E731
    expected = slopes(attention, x)
    x = x.detach()
    assert_close(torch.func.vmap(torch.func.grad(loss))(x[None])[0], expected)
    assert_close(torch.func.jacrev(loss)(x), expected)


@pytest.mark.parametrize("name", ["dynamic@3", "deformable", "modulated"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_convolution_without_a_rule_for_vmap_says_so(name, ndim):
    module = parse_mixer(name).build(16, ndim=ndim)
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 3, 4))
    with pytest.raises(InputError, match=r"torch.func.vmap.*part of the batch"):
        torch.func.vmap(module)(x[None])
    with pytest.raises(InputError, match=r"torch.func.vmap"):
        torch.func.vmap(torch.func.grad(lambda x: module(x).sum()))(x[None])
    assert torch.func.grad(lambda x: module(x).sum())(x).shape == x.shape


def test_other_inputs_are_let_through():
    x = torch.ones(2, requires_grad=True)
    refuse_transforms((x, None), REFERENCE)
    refuse_nested_transforms((x, None), REFERENCE)
    refuse_vmap((x, None))
    with forward_ad.dual_level():
        refuse_tangents((x,), REFERENCE)
    refuse_second_derivatives((torch.ones(2), None), REFERENCE)
    refuse_second_derivatives_of(torch.ones(2), REFERENCE)


def test_the_formula_of_torchs_attention_keeps_its_second_derivatives():
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        y = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    refuse_second_derivatives_of(y, REFERENCE)
    (gradient,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), x)[0].isfinite().all()
