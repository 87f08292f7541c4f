import pytest
import torch

from quatrain.insertion.masks import (
    check_padding_mask,
    hides_keys,
    is_causal_mask,
    is_mask,
    is_padding_mask,
    is_padding_name,
    to_padding_mask,
)
from quatrain.specs import InputError

REAL = torch.tensor([[1, 1, 0]])
ADDITIVE = torch.tensor([[0.0, 0.0, -torch.inf]])


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", REAL),
        ("attention_mask", REAL.bool()),
        ("mask", REAL.float()),
        ("src_key_padding_mask", ~REAL.bool()),
        ("key_padding_mask", 1 - REAL),
        ("src_key_padding_mask", ADDITIVE),
    ],
)
def test_each_kind_of_mask_converts_to_true_at_padding(name, mask):
    assert to_padding_mask(name, mask).tolist() == [[False, False, True]]
    check_padding_mask(name, mask, (1, 3))


def test_no_mask_stays_none_and_the_mask_of_a_map_is_flattened():
    assert to_padding_mask("mask", None) is None
    assert to_padding_mask("mask", torch.eye(2)[None]).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", torch.ones(1, 1, 3, 3)),
        ("attention_mask", torch.ones(1, 4)),
        ("attention_mask", ADDITIVE),
        ("key_padding_mask", torch.tensor([[0.0, 1.0, 1.0]])),
        ("key_padding_mask", torch.tensor([[0, 2, 1]])),
    ],
)
def test_mask_of_another_shape_or_other_values_raises(name, mask):
    with pytest.raises(InputError) as caught:
        check_padding_mask(name, mask, (1, 3))
    assert caught.value.field == name


def test_mask_on_the_meta_device_is_checked_by_its_shape():
    check_padding_mask("attention_mask", torch.ones(1, 3, device="meta"), (1, 3))


@pytest.mark.parametrize(
    ("name", "value", "mask", "padding"),
    [
        ("attn_mask", REAL, True, False),
        ("mask", "a block mask", True, False),
        ("src_key_padding_mask", REAL, True, True),
        ("padding", REAL, True, True),
        ("padding", 1, False, True),
        ("scale", REAL, False, False),
    ],
)
def test_mask_is_recognized_by_its_name(name, value, mask, padding):
    assert (is_mask(name, value), is_padding_name(name)) == (mask, padding)


FUTURE = torch.ones(5, 5).triu(1).bool()


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", torch.ones(5, 5).tril()),
        ("attention_mask", ~FUTURE),
        ("attention_mask", FUTURE),
        ("key_padding_mask", FUTURE),
        ("padding", torch.zeros(5, 5).masked_fill(FUTURE, -torch.inf)),
    ],
)
def test_square_causal_mask_is_not_padding(name, mask):
    assert not is_padding_mask(name, mask, (5, 5))
    with pytest.raises(InputError) as caught:
        check_padding_mask(name, mask, (5, 5))
    assert caught.value.field == name
    assert "causal mask" in str(caught.value)
    padding = mask.clone()
    padding[0] = padding[-1]
    assert is_padding_mask(name, padding, (5, 5))
    check_padding_mask(name, padding, (5, 5))


def test_padding_mask_has_the_shape_of_the_positions():
    assert is_padding_mask("attention_mask", REAL, (1, 3))
    assert is_padding_mask("mask", REAL, (1, 3))
    assert not is_padding_mask("mask", torch.ones(3, 3), (3, 3))
    assert not is_padding_mask("attention_mask", REAL, (1, 4))
    assert is_padding_mask("attention_mask", torch.ones(1, 1), (1, 1))


def test_causal_mask_is_recognized_in_each_form():
    for mask in (FUTURE, ~FUTURE, torch.zeros(5, 5).masked_fill(FUTURE, -torch.inf)):
        assert is_causal_mask(mask)
    assert not is_causal_mask(torch.eye(5).bool())


@pytest.mark.parametrize("additive", [False, True])
def test_mask_of_four_axes_hides_keys_from_all_queries(additive):
    def hides(visible, *, causal=False):
        mask = visible[:, None]
        mask = torch.zeros(mask.shape).masked_fill(~mask, -1e9) if additive else mask
        return hides_keys(mask, causal=causal)

    keys = torch.tensor([[1, 1, 1, 1, 0], [0, 1, 1, 1, 1]]).bool()[:, None].expand(2, 5, 5)
    assert hides(keys)
    assert hides(keys[:, :1])
    assert hides(keys & ~FUTURE, causal=True)
    assert not hides(keys & ~FUTURE)
    assert not hides(keys, causal=True)
    without_padded_query = keys.clone()
    without_padded_query[0, 4] = False
    assert hides(without_padded_query)
    assert not hides(torch.eye(5).bool()[None])
