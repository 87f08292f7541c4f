import pytest
import torch

from laws import unchecked
from quatrain.nn import DeformableConv, RegularConv
from quatrain.nn.convolution import InputState, check_input, pad_sequence, zero_padding
from quatrain.specs import InputError


def test_a_state_is_appended_to_cut_and_selected_from():
    first, second = torch.ones(2, 1, 3), 2 * torch.ones(2, 1, 3)
    state = InputState.empty(first, length=1).append(first).append(second)
    assert state.inputs[:, :, 0].tolist() == [[0.0, 1.0, 2.0]] * 2
    assert state.last(2).inputs[:, :, 0].tolist() == [[1.0, 2.0]] * 2
    assert state.last(0).inputs.shape == (2, 0, 3)
    assert state.select(torch.tensor([1])).inputs.shape == (1, 3, 3)


def test_zeros_are_added_before_a_causal_sequence_and_on_both_sides_of_another():
    x = torch.ones(1, 2, 1)
    assert pad_sequence(x, 2, causal=True).flatten().tolist() == [0, 0, 1, 1]
    assert pad_sequence(x, 2, causal=False).flatten().tolist() == [0, 1, 1, 0]


@pytest.mark.parametrize("kind", [RegularConv, DeformableConv])
@pytest.mark.parametrize("ndim", [1, 2])
def test_a_bias_starts_at_zero_and_is_added_to_every_output(kind, ndim):
    module = kind(4, bias=True, ndim=ndim)
    x = torch.randn(2, 5, 4) if ndim == 1 else torch.randn(2, 4, 5, 3)
    plain = module(x)
    assert not module.bias.any()
    with torch.no_grad():
        module.bias.copy_(torch.arange(4.0))
    added = module.bias if ndim == 1 else module.bias[:, None, None]
    torch.testing.assert_close(module(x), plain + added)
    assert "bias" not in kind(4, ndim=ndim).state_dict()


@pytest.mark.parametrize("kind", [RegularConv, DeformableConv])
def test_decoding_adds_the_bias(kind):
    module = kind(4, bias=True, ndim=1)
    torch.nn.init.ones_(module.bias)
    x, state, outputs = torch.randn(1, 3, 4), None, []
    for token in x.split(1, dim=1):
        y, state = module.step(token, state)
        outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs, 1), module(x, causal=True))


@unchecked()
@pytest.mark.parametrize(
    ("shape", "ndim", "causal", "field"),
    [
        ((2, 5, 8), 1, False, "input"),
        ((2, 0, 4), 1, False, "input"),
        ((2, 4, 3, 4), 1, False, "input"),
        ((2, 5, 4), 2, False, "input"),
        ((2, 4, 3, 4), 2, True, "causal"),
    ],
)
def test_an_input_that_does_not_fit_is_refused(shape, ndim, causal, field):
    with pytest.raises(InputError) as caught:
        check_input(torch.zeros(shape), 4, ndim, causal=causal)
    assert caught.value.field == field


@unchecked()
@pytest.mark.parametrize("mask", [torch.zeros(2, 4, dtype=torch.bool), torch.zeros(2, 5)])
def test_a_mask_that_does_not_fit_is_refused(mask):
    with pytest.raises(InputError) as caught:
        zero_padding(torch.zeros(2, 5, 4), mask)
    assert caught.value.field == "key_padding_mask"


def test_each_tap_of_a_regular_convolution_is_a_head_that_attends_to_one_offset():
    """Equation 3 of the paper: A is 1 where k = q + p_m, and W_m is the tap's matrix."""
    module = RegularConv(4, kernel=3, ndim=1).double()
    x = torch.randn(1, 5, 4, dtype=torch.float64)
    expected = torch.zeros_like(x)
    for q in range(5):
        for tap, p in enumerate((-1, 0, 1)):
            if 0 <= q + p < 5:
                expected[0, q] += module.weight[:, :, tap] @ x[0, q + p]
    torch.testing.assert_close(module(x), expected)
