import pytest
import torch
from torch.testing import assert_close

from laws import unchecked
from quatrain.nn.tokens import (
    check_layout,
    laid_out_like,
    sizes_of,
    subsampled,
    subsampled_mask,
    tokens_of,
)
from quatrain.specs import InputError

SHAPES = {1: (2, 5, 3), 2: (2, 3, 4, 5)}


@pytest.mark.parametrize("ndim", [1, 2])
def test_tokens_are_laid_out_as_they_were(ndim):
    x = torch.randn(SHAPES[ndim])
    tokens = tokens_of(x, ndim)
    assert tokens.shape == (2, 5 if ndim == 1 else 20, 3)
    assert_close(laid_out_like(x, tokens), x)


def test_a_map_is_read_row_by_row():
    x = torch.arange(6.0).reshape(1, 1, 2, 3)
    assert tokens_of(x, 2).flatten().tolist() == [0, 1, 2, 3, 4, 5]
    assert sizes_of(x, 2) == (2, 3)
    assert sizes_of(torch.zeros(1, 7, 4), 1) == (7,)


@pytest.mark.parametrize("ndim", [1, 2])
@pytest.mark.parametrize("stride", [2, 3, 9])
def test_the_subsampled_mask_is_the_mask_of_the_subsampled_keys(ndim, stride):
    x = torch.randn(SHAPES[ndim])
    sizes = sizes_of(x, ndim)
    positive = tokens_of(x, ndim)[:, :, 0] > 0
    kept = tokens_of(subsampled(x, ndim, stride), ndim)[:, :, 0] > 0
    assert_close(subsampled_mask(positive, sizes, stride), kept)
    assert subsampled(x, ndim, stride).is_contiguous()


def test_a_mask_that_fits_no_key_is_left_to_whom_it_is_told():
    mask = torch.zeros(2, 4, dtype=torch.bool)
    assert subsampled_mask(mask, (5,), 2) is mask
    assert subsampled_mask(None, (5,), 2) is None


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
