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
def test_tokens_are_converted_back(ndim):
    x = torch.randn(SHAPES[ndim])
    tokens = to_tokens(x, ndim)
    assert tokens.shape == (2, 5 if ndim == 1 else 20, 3)
    assert_close(from_tokens(tokens, x), x)


def test_the_tokens_of_a_map_are_in_row_major_order():
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
    subsampled = to_tokens(subsample(x, ndim, stride), ndim)[:, :, 0] > 0
    assert_close(subsample_mask(positive, sizes, stride), subsampled)
    assert subsample(x, ndim, stride).is_contiguous()


def test_a_mask_of_another_shape_is_returned_as_it_is():
    mask = torch.zeros(2, 4, dtype=torch.bool)
    assert subsample_mask(mask, (5,), 2) is mask
    assert subsample_mask(None, (5,), 2) is None


@unchecked()
@pytest.mark.parametrize(
    ("shape", "ndim"),
    [((2, 5, 4), 1), ((1, 5, 3), 1), ((2, 3, 4, 5), 1), ((2, 5, 3), 2), ((2, 4, 3, 5), 2)],
)
def test_another_layout_batch_size_or_number_of_channels_is_refused(shape, ndim):
    with pytest.raises(InputError) as caught:
        check_layout(torch.zeros(shape), "key", 3, ndim, batch=2)
    assert caught.value.field == "key"
    assert f"shape {shape}" in str(caught.value)
    check_layout(torch.zeros(SHAPES[ndim]), "key", 3, ndim)
