import pytest
import torch
from torch.autograd import forward_ad
from torch.testing import assert_close

from quatrain.nn import AttentionSpec, parse_mixer
from quatrain.ops import attention as attention_module
from quatrain.ops.attention.augmented import augmented_attention
from quatrain.ops.derivatives import (
    ANY_ORDER,
    USE_GATHER,
    USE_REFERENCE,
    check_kernel_second_derivatives,
    check_second_derivatives,
    check_transforms,
)
from quatrain.specs import InputError

BY_KERNELS = [("1111", (1, 300, 8)), ("0110", (1, 8, 24, 24)), ("1010", (2, 20, 8))]
kernels = pytest.mark.parametrize(("terms", "shape"), BY_KERNELS)


def attention_on(terms, shape):
    torch.manual_seed(0)
    module = AttentionSpec(terms=terms, heads=2).build(8, ndim=len(shape) - 2).double()
    return module, torch.randn(shape, dtype=torch.float64, requires_grad=True)


def grads(module, x):
    return torch.autograd.grad(module(x).sin().sum(), x, create_graph=True)[0]


def finite_difference(function, x, direction, step=1e-6):
    return (function(x + step * direction) - function(x - step * direction)) / (2 * step)


@pytest.mark.parametrize(
    ("terms", "shape"), [("1111", (2, 2, 300, 8)), ("0110", (2, 1, 8, 24, 24))]
)
@pytest.mark.parametrize("trains", [pytest.param(True, marks=pytest.mark.slow), False])
@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")  # torch's own, for this mode
def test_forward_mode_is_refused_where_it_has_no_rule(terms, shape, trains):
    attention, x = attention_on(terms, shape[1:])
    attention.requires_grad_(trains)
    x, tangent = x.detach(), torch.randn_like(x)
    with pytest.raises(InputError, match="dual tensor"):
        torch.func.jvp(attention, (x,), (tangent,))
    with pytest.raises(InputError, match="dual tensor"), forward_ad.dual_level():
        attention(forward_ad.make_dual(x, tangent))
    output, derivative = torch.func.jvp(
        lambda x: attention(x, method="reference"), (x,), (tangent,)
    )
    assert_close(derivative, finite_difference(attention, x, tangent), rtol=1e-5, atol=1e-6)
    assert_close(output, attention(x))


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
@pytest.mark.parametrize("name", ["1010", "deformable", "modulated", "dynamic"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_tangents_are_never_dropped(name, ndim):
    module = parse_mixer(name, heads=2).build(16, ndim=ndim)
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 3, 4))
    with pytest.raises(InputError, match="dual tensor"):
        torch.func.jvp(module, (x,), (torch.ones_like(x),))


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
def test_missing_derivatives_of_torchvisions_kernel_are_refused():
    module, x = parse_mixer("deformable").build(4).double(), torch.randn(1, 4, 3, 4).double()
    module.method = "torchvision"
    with pytest.raises(InputError, match="dual tensor"):
        torch.func.jvp(module, (x,), (x,))
    with pytest.raises(InputError, match=r"torch\.func"):
        torch.func.vmap(module)(x[None])
    with pytest.raises(InputError) as caught:
        grads(module, x.requires_grad_()).sum().backward()
    assert USE_GATHER in str(caught.value)


@kernels
def test_second_derivatives_of_kernels_are_refused(terms, shape):
    attention, x = attention_on(terms, shape)
    with pytest.raises(InputError) as caught:
        grads(attention, x).square().sum().backward()
    assert USE_REFERENCE in str(caught.value)
    with pytest.raises(InputError, match="second derivatives"):
        torch.autograd.functional.hvp(lambda x: attention(x).sin().sum(), x, torch.ones_like(x))


@kernels
def test_create_graph_alone_does_not_change_gradients(terms, shape):
    attention, x = attention_on(terms, shape)
    (expected,) = torch.autograd.grad(attention(x).sin().sum(), x)
    assert_close(grads(attention, x), expected, rtol=0, atol=0)


@kernels
def test_the_reference_has_second_derivatives(terms, shape):
    attention, x = attention_on(terms, shape)
    attention.method = "reference"
    direction = torch.randn_like(x)
    (second,) = torch.autograd.grad(grads(attention, x), x, direction)
    expected = finite_difference(
        lambda x: grads(attention, x), x.detach().requires_grad_(), direction
    )
    assert_close(second, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("terms", "shape"), [("0010", (1, 70, 8)), ("0011", (1, 8, 5, 6))])
def test_pooled_and_separable_have_second_derivatives(terms, shape):
    attention, x = attention_on(terms, shape)
    direction = torch.randn_like(x)
    (second,) = torch.autograd.grad(grads(attention, x), x, direction)
    expected = finite_difference(
        lambda x: grads(attention, x), x.detach().requires_grad_(), direction
    )
    assert_close(second, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("terms", "shape"), BY_KERNELS[:2])
def test_custom_operators_are_refused_within_torch_func(terms, shape):
    attention, x = attention_on(terms, shape)

    def loss(x):
        return attention(x).sin().sum()

    for transformed in (torch.func.grad(loss), lambda x: torch.func.vmap(loss)(x[None])):
        with pytest.raises(InputError) as caught:
            transformed(x)
        assert USE_REFERENCE in str(caught.value)
    attention.method = "reference"
    assert_close(torch.func.grad(loss)(x), grads(attention, x))


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
def test_second_derivatives_by_torch_func_are_refused(kind, augmented, monkeypatch):
    attention, x = attention_on("1010", (1, 8, 3, 4) if augmented else (1, 20, 8))
    if augmented:
        monkeypatch.setattr(
            attention_module, "fused_attention", lambda inputs, _: augmented_attention(inputs)
        )
    attention.method = "fused"
    with pytest.raises(InputError) as caught:
        by_torch_func(lambda x: attention(x).sin().sum())[kind](x.detach())
    assert USE_REFERENCE in str(caught.value)


@pytest.mark.filterwarnings("ignore:There is a performance drop")
@pytest.mark.parametrize("name", ["1010", "0010"])
def test_first_derivatives_by_torch_func_stay_allowed(name):
    attention, x = attention_on(name, (1, 20, 8))
    attention.method = "auto"
    loss = lambda x: attention(x).sin().sum()  # noqa: E731
    expected = grads(attention, x)
    x = x.detach()
    assert_close(torch.func.vmap(torch.func.grad(loss))(x[None])[0], expected)
    assert_close(torch.func.jacrev(loss)(x), expected)


@pytest.mark.parametrize("name", ["dynamic@3", "deformable", "modulated"])
@pytest.mark.parametrize("ndim", [1, 2])
def test_vmap_of_a_convolution_is_refused(name, ndim):
    module = parse_mixer(name).build(16, ndim=ndim)
    x = torch.randn((1, 6, 16) if ndim == 1 else (1, 16, 3, 4))
    with pytest.raises(InputError, match="vmap"):
        torch.func.vmap(module)(x[None])
    with pytest.raises(InputError, match="vmap"):
        torch.func.vmap(torch.func.grad(lambda x: module(x).sum()))(x[None])
    assert torch.func.grad(lambda x: module(x).sum())(x).shape == x.shape


def test_other_inputs_pass():
    x = torch.ones(2, requires_grad=True)
    for order in (0, 1, ANY_ORDER):
        check_transforms((x, None), USE_REFERENCE, order=order)
        with forward_ad.dual_level():
            check_transforms((x,), USE_REFERENCE, order=order)
    check_second_derivatives((torch.ones(2), None), USE_REFERENCE)
    check_kernel_second_derivatives(torch.ones(2), USE_REFERENCE)


def test_the_formula_of_torchs_attention_keeps_its_second_derivatives():
    x = torch.randn(1, 1, 3, 4, dtype=torch.float64, requires_grad=True)
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        y = torch.nn.functional.scaled_dot_product_attention(x, x, x)
    check_kernel_second_derivatives(y, USE_REFERENCE)
    (gradient,) = torch.autograd.grad(y.sin().sum(), x, create_graph=True)
    assert torch.autograd.grad(gradient.sum(), x)[0].isfinite().all()
