import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.testing import assert_close
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from laws import unchecked
from quatrain.ops.deform import choose_method, deform_conv1d, deform_conv2d
from quatrain.specs import InputError, SpecError


def leaf(*shape, spread=1.0):
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(shape, dtype=torch.float64, generator=generator) * spread
    return x.requires_grad_()


def assert_same(actual, expected, leaves):
    assert_close(actual, expected)
    weights = torch.randn(
        actual.shape, dtype=actual.dtype, generator=torch.Generator().manual_seed(1)
    )
    gradients = [torch.autograd.grad((weights * y).sum(), leaves) for y in (actual, expected)]
    assert_close(*gradients)


@settings(max_examples=40)
@given(
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.tuples(st.integers(1, 4), st.integers(1, 3)),
    st.integers(1, 2),
    st.integers(1, 2),
    st.sampled_from([(1, 1), (2, 1), (1, 2), (2, 4), (4, 2)]),
    st.booleans(),
    st.sampled_from([0.0, 0.7, 5.0]),
)
def test_on_maps_both_methods_agree_with_torchvision(
    sizes, kernel, stride, dilation, groups, modulated, spread
):
    """Zero offsets too, where taps lie on the grid and derivatives are one-sided."""
    own, share = groups
    padding = dilation * (max(kernel) - 1)
    reached = [
        (size + 2 * padding - dilation * (k - 1) - 1) // stride + 1
        for size, k in zip(sizes, kernel, strict=True)
    ]
    taps = kernel[0] * kernel[1]
    x, weight = leaf(2, 4, *sizes), leaf(4, 4 // own, *kernel)
    offset = leaf(2, 2 * share * taps, *reached, spread=spread)
    modulation = leaf(2, share * taps, *reached) if modulated else None
    leaves = [leaf for leaf in (x, weight, offset, modulation) if leaf is not None]
    shape = {"stride": stride, "padding": padding, "dilation": dilation}
    for method in ("gather", "torchvision"):
        expected = torchvision_deform_conv2d(x, offset, weight, **shape, mask=modulation)
        output = deform_conv2d(x, offset, weight, **shape, modulation=modulation, method=method)
        assert_same(output, expected, leaves)


@pytest.mark.parametrize("modulated", [False, True])
def test_a_sequence_is_a_map_of_one_column(modulated):
    x, weight, offset = leaf(2, 6, 4), leaf(4, 2, 3), leaf(2, 6, 6)
    modulation = leaf(2, 6, 6) if modulated else None
    leaves = [leaf for leaf in (x, weight, offset, modulation) if leaf is not None]
    both = torch.stack((offset, torch.zeros_like(offset)), dim=-1).flatten(2)  # y, then x
    as_map = torchvision_deform_conv2d(
        x.transpose(1, 2)[..., None],
        both.transpose(1, 2)[..., None],
        weight[..., None],
        padding=(1, 0),
        mask=None if modulation is None else modulation.transpose(1, 2)[..., None],
    )
    output = deform_conv1d(x, offset, weight, padding=1, modulation=modulation)
    assert_same(output, as_map[..., 0].transpose(1, 2), leaves)


@pytest.mark.parametrize("kernel", [1, 2, 3])
@pytest.mark.parametrize("dilation", [1, 2])
def test_causal_without_offsets_is_the_causal_convolution(kernel, dilation):
    x, weight = leaf(2, 6, 4), leaf(4, 4, kernel)
    offset = torch.zeros(2, 6, kernel, dtype=torch.float64)
    wide = torch.nn.functional.pad(x, (0, 0, (kernel - 1) * dilation, 0)).transpose(1, 2)
    expected = torch.nn.functional.conv1d(wide, weight, dilation=dilation).transpose(1, 2)
    output = deform_conv1d(x, offset, weight, dilation=dilation, causal=True)
    assert_same(output, expected, (x, weight))


@settings(max_examples=20)
@given(st.integers(1, 7), st.integers(0, 6), st.sampled_from([1.0, 10.0, 1e9]))
def test_causal_outputs_do_not_depend_on_the_future(length, changed, spread):
    x, weight, offset = leaf(1, length, 2), leaf(2, 2, 3), leaf(1, length, 3, spread=spread)
    changed = min(changed, length - 1)
    other = x.detach().clone()
    other[:, changed:] += 100.0
    before = deform_conv1d(x, offset, weight, causal=True)[:, :changed]
    assert torch.equal(before, deform_conv1d(other, offset, weight, causal=True)[:, :changed])
    (grad_offset,) = torch.autograd.grad(before.sum(), offset, allow_unused=True)
    after = deform_conv1d(other, offset, weight, causal=True)[:, :changed]
    assert torch.equal(grad_offset, torch.autograd.grad(after.sum(), offset)[0])


def test_offsets_of_the_last_positions_give_the_last_outputs():
    x, weight, offset = leaf(2, 6, 4), leaf(4, 4, 3), leaf(2, 6, 3, spread=3.0)
    whole = deform_conv1d(x, offset, weight, causal=True)
    assert_close(deform_conv1d(x, offset[:, 4:], weight, causal=True), whole[:, 4:])


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), -float("inf"), 1e30])
@pytest.mark.parametrize("method", ["gather", "torchvision"])
def test_invalid_offsets_sample_zero_with_finite_gradients(wrong, method):
    x, weight = leaf(1, 2, 4, 5), leaf(2, 2, 1, 1)
    offset = torch.zeros(1, 2, 4, 5, dtype=torch.float64)
    offset[0, 1, 2, 3] = wrong
    offset.requires_grad_()
    y = deform_conv2d(x, offset, weight, method=method)
    assert (y[..., 2, 3] == 0).all()
    assert all(g.isfinite().all() for g in torch.autograd.grad(y.sum(), (x, offset, weight)))


@pytest.mark.parametrize("causal", [False, True])
def test_it_has_second_derivatives(causal):
    x, weight, offset, modulation = leaf(1, 4, 2), leaf(2, 1, 3), leaf(1, 4, 6), leaf(1, 4, 6)

    def call(x, offset, weight, modulation):
        padding = 0 if causal else 1
        return deform_conv1d(
            x, offset, weight, padding=padding, modulation=modulation, causal=causal
        )

    inputs = (x, offset, weight, modulation)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@pytest.mark.parametrize("method", ["gather", "torchvision"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_close_and_keeps_its_type(method, dtype):
    x, weight, offset = leaf(1, 4, 5, 6), leaf(4, 4, 3, 3), leaf(1, 18, 5, 6)
    exact = deform_conv2d(x, offset, weight, padding=1)
    half = [x.detach().to(dtype) for x in (x, offset, weight)]
    output = deform_conv2d(*half, padding=1, method=method)
    assert output.dtype == dtype
    assert (output.double() - exact).norm() < 0.03 * exact.norm()


@pytest.mark.parametrize(
    ("shapes", "field"),
    [
        (((1, 4, 5, 6), (1, 17, 5, 6), (4, 4, 3, 3)), "offset"),
        (((1, 4, 5, 6), (1, 18, 4, 6), (4, 4, 3, 3)), "offset"),
        (((1, 4, 5, 6), (1, 54, 5, 6), (4, 4, 3, 3)), "offset"),
        (((1, 4, 5, 6), (1, 18, 5, 6), (4, 3, 3, 3)), "weight"),
        (((1, 4, 5, 6), (1, 18, 5, 6), (3, 2, 3, 3)), "weight"),
    ],
)
def test_other_shapes_are_refused(shapes, field):
    with unchecked(), pytest.raises(InputError) as caught:
        deform_conv2d(*(torch.zeros(shape) for shape in shapes), padding=1)
    assert caught.value.field == field


def test_a_modulation_of_another_shape_is_refused():
    arguments = [torch.zeros(shape) for shape in ((1, 4, 5, 6), (1, 18, 5, 6), (4, 4, 3, 3))]
    with unchecked(), pytest.raises(InputError) as caught:
        deform_conv2d(*arguments, padding=1, modulation=torch.zeros(1, 8, 5, 6))
    assert caught.value.field == "modulation"


def test_torchvision_is_chosen_on_maps_if_it_is_forced():
    assert choose_method(ndim=1) == choose_method(ndim=2) == "gather"
    assert choose_method("torchvision", ndim=2) == "torchvision"
    with pytest.raises(SpecError) as caught:
        choose_method("torchvision", ndim=1)
    assert caught.value.field == "method"


def test_an_unknown_method_is_refused():
    with pytest.raises(SpecError) as error, unchecked():
        choose_method("kernel", ndim=2)
    assert error.value.field == "method"
