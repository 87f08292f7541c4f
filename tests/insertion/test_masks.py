import pytest
import torch

from quatrain.insertion.masks import (
    check_padding,
    is_causal,
    is_mask,
    marks_padding,
    names_padding,
    padding_from,
    refuse_mask,
)
from quatrain.specs import InputError

REAL = torch.tensor([[1, 1, 0]])
ADDED = torch.tensor([[0.0, 0.0, -torch.inf]])


@pytest.mark.parametrize(
    ("name", "mask"),
    [
        ("attention_mask", REAL),
        ("attention_mask", REAL.bool()),
        ("mask", REAL.float()),
        ("src_key_padding_mask", ~REAL.bool()),
        ("key_padding_mask", 1 - REAL),
        ("src_key_padding_mask", ADDED),
    ],
)
def test_each_kind_of_mask_gives_true_at_padding(name, mask):
    assert padding_from(name, mask).tolist() == [[False, False, True]]
    check_padding(name, mask, (1, 3))


def test_no_mask_is_no_padding_and_a_map_of_it_is_read_row_by_row():
    assert padding_from("mask", None) is None
    assert padding_from("mask", torch.eye(2)[None]).tolist() == [[False, True, True, False]]


@pytest.mark.parametrize(
    ("name", "mask", "why"),
    [
        ("attention_mask", torch.ones(1, 1, 3, 3), r"of \(B, T\)"),
        ("attention_mask", torch.ones(1, 4), r"shape \(1, 3\)"),
        ("attention_mask", ADDED, "expected 0 or 1"),
        ("key_padding_mask", torch.tensor([[0.0, 1.0, 1.0]]), "expected 0 or negative"),
        ("key_padding_mask", torch.tensor([[0, 2, 1]]), "expected 0 or 1"),
    ],
)
def test_a_mask_of_another_kind_is_refused(name, mask, why):
    with pytest.raises(InputError, match=why):
        check_padding(name, mask, (1, 3))


def test_a_mask_without_numbers_is_judged_by_its_shape():
    check_padding("attention_mask", torch.ones(1, 3, device="meta"), (1, 3))


def test_a_masked_place_is_refused_with_the_words_for_its_mask():
    with pytest.raises(InputError, match=r'key_padding_mask is None, expected "mask".*that 0 is'):
        refuse_mask("0", "mask", padding=True)
    with pytest.raises(InputError, match=r"^causal, key_padding_mask is None.*mask at 0.*causal=T"):
        refuse_mask("0", "mask", padding=False)


@pytest.mark.parametrize(
    ("name", "value", "masks", "pads"),
    [
        ("attn_mask", REAL, True, False),
        ("mask", "a block mask", True, False),
        ("src_key_padding_mask", REAL, True, True),
        ("padding", REAL, True, True),
        ("padding", 1, False, True),
        ("scale", REAL, False, False),
    ],
)
def test_a_mask_is_known_by_its_name(name, value, masks, pads):
    assert (is_mask(name, value), names_padding(name)) == (masks, pads)


CAUSAL = [
    ("attention_mask", torch.ones(5, 5).tril()),
    ("attention_mask", torch.ones(5, 5).tril().bool()),
    ("attention_mask", torch.ones(5, 5).triu(1).bool()),
    ("key_padding_mask", torch.ones(5, 5).triu(1).bool()),
    ("padding", torch.zeros(5, 5).masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf)),
]


@pytest.mark.parametrize(("name", "mask"), CAUSAL)
def test_a_causal_mask_is_no_padding_where_the_batch_is_as_long_as_the_sequence(name, mask):
    assert not marks_padding(name, mask, (5, 5))
    with pytest.raises(InputError, match=r"a causal mask.*causal=True.*batch size differs"):
        check_padding(name, mask, (5, 5))
    other = mask.clone()
    other[0] = other[-1]
    assert marks_padding(name, other, (5, 5))
    check_padding(name, other, (5, 5))


def test_only_masks_of_single_positions_mark_padding():
    assert marks_padding("attention_mask", REAL, (1, 3))
    assert marks_padding("mask", REAL, (1, 3))
    assert not marks_padding("mask", torch.ones(3, 3), (3, 3))
    assert not marks_padding("attention_mask", REAL, (1, 4))
    assert marks_padding("attention_mask", torch.ones(1, 1), (1, 1))


def test_a_mask_of_the_future_alone_is_causal_in_each_of_its_forms():
    future = torch.ones(4, 4).triu(1).bool()
    for mask in (future, ~future, torch.zeros(4, 4).masked_fill(future, -torch.inf)):
        assert is_causal(mask)
    assert not is_causal(torch.eye(4).bool())
