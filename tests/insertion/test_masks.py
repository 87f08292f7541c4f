import pytest
import torch
from torch import nn

from quatrain.insertion import insert, replace
from quatrain.insertion.masks import (
    check_padding,
    is_causal,
    is_mask,
    marks_padding,
    names_padding,
    padding_from,
    refuse_mask,
)
from quatrain.nn.mixers import parse_mixer
from quatrain.specs import InputError

X = torch.randn(2, 6, 16, generator=torch.Generator().manual_seed(0))

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


class Two(nn.Module):
    """A network whose part takes two masks of padding and two flags of order."""

    class Part(nn.Linear):
        def forward(
            self, x, q_padding=None, kv_padding=None, is_causal=False, kv_causal=False, mask=None
        ):
            del q_padding, kv_padding, is_causal, kv_causal, mask
            return super().forward(x)

    def __init__(self, **named):
        super().__init__()
        self.inner, self.last, self.named = self.Part(16, 16), nn.Linear(16, 16), named

    def forward(self, x):
        return self.last(self.inner(x, **self.named))


def test_two_masks_of_padding_or_two_flags_are_refused_until_one_is_named():
    padding = torch.arange(6).expand(2, 6) >= torch.tensor([[6], [4]])
    network = Two(q_padding=padding, kv_padding=~padding)
    with pytest.raises(InputError, match=r'inner is .called with "kv_padding".*q_padding is one'):
        replace(network, parse_mixer("0110"), at="inner", example=X)
    change = replace(
        network, parse_mixer("0110"), at="inner", example=X, key_padding_mask="q_padding"
    )
    expected = network.last(change.wrappers["inner"].block(X, key_padding_mask=padding))
    torch.testing.assert_close(network(X), expected)
    network = Two(is_causal=True, kv_causal=True)
    with pytest.raises(InputError, match=r'called with "kv_causal".*pass causal=True'):
        replace(network, parse_mixer("0110"), at="inner", example=X)
    replace(network, parse_mixer("0110"), at="inner", example=X, causal=True)


def test_padding_without_the_word_mask_is_a_mask():
    padding = torch.arange(6).expand(2, 6) >= torch.tensor([[6], [4]])
    with pytest.raises(InputError, match=r'key_padding_mask is None, expected "q_padding"'):
        insert(Two(q_padding=padding), parse_mixer("0110"), after="inner", example=X)
    network = Two()
    insert(network, parse_mixer("0110"), after="inner", example=X)
    with pytest.raises(InputError, match=r"q_padding is .a Tensor"):
        network.inner(X, q_padding=padding)
