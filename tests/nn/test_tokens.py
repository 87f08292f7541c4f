import pytest
import torch
from torch.testing import assert_close

from laws import unchecked
from quatrain.nn.tokens import (
    check_layout,
    from_tokens,
    spatial_sizes,
    subsample,
    subsample_mask,
    to_tokens,
)
from quatrain.specs import InputError

SHAPES = {1: (2, 5, 3), 2: (2, 3, 4, 5)}


@pytest.mark.parametrize("ndim", [1, 2])
def test_tokens_are_laid_out_as_they_were(ndim):
    x = torch.randn(SHAPES[ndim])
    tokens = to_tokens(x, ndim)
    assert tokens.shape == (2, 5 if ndim == 1 else 20, 3)
    assert_close(from_tokens(tokens, x), x)


def test_a_map_is_read_row_by_row():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert to_tokens(x, 2).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert spatial_sizes(x, 2) == (2, 3)
    assert spatial_sizes(torch.zeros(1, 7, 4), 1) == (7,)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("stride", [2, 3, 9])
def test_the_subsampled_mask_is_the_mask_of_the_subsampled_keys(ndim, stride):
    x = torch.randn(SHAPES[ndim])
    sizes = spatial_sizes(x, ndim)
    positive = to_tokens(x, ndim)[:, :, 0] > 0
    kept = to_tokens(subsample(x, ndim, stride), ndim)[:, :, 0] > 0
    assert_close(subsample_mask(positive, sizes, stride), kept)
    assert subsample(x, ndim, stride).is_contiguous()


def test_a_mask_that_fits_no_key_is_left_to_whom_it_is_told():
    mask = torch.zeros(2, 4, dtype=torch.bool)
    assert subsample_mask(mask, (5,), 2) is mask
    assert subsample_mask(None, (5,), 2) is None


@unchecked()
@pytest.mark.parametrize(
    ("shape", "ndim", "expected"),
    [
        ((2, 5, 4), 1, r"expected \(2, T, 3\)"),
        ((1, 5, 3), 1, r"expected \(2, T, 3\)"),
        ((2, 3, 4, 5), 1, r"expected \(2, T, 3\)"),
        ((2, 5, 3), 2, r"expected \(2, 3, H, W\)"),
        ((2, 4, 3, 5), 2, r"expected \(2, 3, H, W\)"),
    ],
)
def test_what_is_no_such_sequence_or_map_is_refused_in_a_sentence(shape, ndim, expected):
    with pytest.raises(InputError, match=rf"^key is .*, {expected}: .* 3 channels of key.*\.$"):
        check_layout(torch.zeros(shape), "key", 2, 3, ndim)


@pytest.mark.parametrize("ndim", [1, 2])
def test_one_that_fits_passes(ndim):
    check_layout(torch.zeros(SHAPES[ndim]), "key", 2, 3, ndim)
