import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from laws import grids, supports, unchecked
from ops import loops
from quatrain.ops.positions import Grid
from quatrain.ops.support import Support
from quatrain.specs import InputError


def mask_of(support, grid):
    """The mask for values of two batch elements and three heads."""
    keys = torch.Size(grid.keys).numel()
    return support.mask(grid, torch.zeros(2, 3, keys, 1))


@given(st.data())
def test_the_mask_is_true_where_all_restrictions_allow_the_key(data):
    grid = data.draw(grids())
    generator = torch.Generator().manual_seed(data.draw(st.integers(0, 999)))
    support = data.draw(supports(grid, 2, 3, generator))
    queries, keys = (torch.Size(sizes).numel() for sizes in (grid.queries, grid.keys))
    mask = mask_of(support, grid)
    whole = torch.ones(2, 3, queries, keys, dtype=torch.bool) if mask is None else mask
    whole = whole.expand(2, 3, -1, -1)
    for b, h, q, k in torch.cartesian_prod(*map(torch.arange, whole.shape)).tolist():
        assert whole[b, h, q, k] == loops.allowed(support, grid, b, h, q, k)


def test_without_restrictions_there_is_no_mask():
    assert mask_of(Support(), Grid((3,), (3,))) is None


def test_a_causal_window_has_as_many_keys_as_a_centred_one():
    grid = Grid((9,), (9,))
    causal = mask_of(Support(causal=True, window=3), grid)[0, 0]
    centred = mask_of(Support(window=3), grid)[0, 0]
    assert causal[5].nonzero()[:, 0].tolist() == [3, 4, 5]
    assert centred[5].nonzero()[:, 0].tolist() == [4, 5, 6]


def test_a_causal_map_is_refused():
    with pytest.raises(InputError) as caught:
        mask_of(Support(causal=True), Grid((2, 2), (2, 2)))
    assert caught.value.field == "causal"


@unchecked()
@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(2, 5, dtype=torch.bool),
        torch.zeros(3, 4, dtype=torch.bool),
        torch.zeros(2, 1, dtype=torch.bool),
        torch.zeros(4, dtype=torch.bool),
        torch.zeros(2, 2, 2, dtype=torch.bool),
        torch.zeros(2, 4),
        torch.zeros(2, 4, dtype=torch.int64),
    ],
    ids=lambda mask: f"{mask.dtype} {tuple(mask.shape)}",
)
def test_a_padding_mask_of_another_shape_or_type_is_refused(mask):
    with pytest.raises(InputError) as caught:
        mask_of(Support(key_padding_mask=mask), Grid((3,), (4,)))
    assert caught.value.field == "key_padding_mask"


@unchecked()
@pytest.mark.parametrize(
    "mask",
    [
        torch.zeros(4, 3, dtype=torch.bool),
        torch.zeros(5, 3, 4, dtype=torch.bool),
        torch.zeros(2, 5, 3, 4, dtype=torch.bool),
        torch.zeros(4, dtype=torch.bool),
        torch.zeros(3, 4),
    ],
    ids=lambda mask: f"{mask.dtype} {tuple(mask.shape)}",
)
def test_an_attend_mask_of_another_shape_or_type_is_refused(mask):
    with pytest.raises(InputError) as caught:
        mask_of(Support(attend_mask=mask), Grid((3,), (4,)))
    assert caught.value.field == "attend_mask"


@pytest.mark.parametrize("shape", [(1, 4), (1, 1, 4), (1, 3, 4), (2, 1, 3, 4), (1, 3, 1, 4)])
def test_an_attend_mask_may_have_axes_of_size_one(shape):
    mask = mask_of(Support(attend_mask=torch.ones(shape, dtype=torch.bool)), Grid((3,), (4,)))
    assert mask.expand(2, 3, 3, 4).all()


@pytest.mark.parametrize("window", [4, 0, -1])
@pytest.mark.parametrize("causal", [True, False])
def test_an_even_window_is_refused(window, causal):
    with pytest.raises(InputError) as caught:
        Support(causal=causal, window=window).structure.check(Grid((9,), (9,)))
    assert caught.value.field == "window"
