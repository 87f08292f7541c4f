import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.translation.batches import pad, token_batches
from quatrain.tasks.translation.vocabulary import PAD

BUDGET = 60
lengths_of_pairs = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=200)
seeds = st.integers(0, 2**31)


def spread(number):
    return [(3 + index * 7 % 20, 3 + index * 11 % 23) for index in range(number)]


@given(lengths=lengths_of_pairs, seed=seeds, epoch=st.integers(0, 1000))
def test_every_pair_is_in_one_batch_within_the_budget(lengths, seed, epoch):
    batches = token_batches(lengths, BUDGET, seed=seed, epoch=epoch)
    assert sorted(index for batch in batches for index in batch) == list(range(len(lengths)))
    for batch in batches:
        assert batch
        assert len(batch) * max(max(lengths[index]) for index in batch) <= BUDGET


@given(lengths=lengths_of_pairs, seed=seeds, epoch=st.integers(0, 1000))
def test_batches_are_a_pure_function_of_lengths_seed_and_epoch(lengths, seed, epoch):
    before = torch.random.get_rng_state()
    first = token_batches(lengths, BUDGET, seed=seed, epoch=epoch)
    assert token_batches(lengths, BUDGET, seed=seed, epoch=epoch) == first
    assert torch.equal(torch.random.get_rng_state(), before)


def test_another_epoch_and_another_seed_change_neighbours_and_order():
    lengths = spread(2000)
    first = token_batches(lengths, 200, seed=0, epoch=0)
    for other in (
        token_batches(lengths, 200, seed=0, epoch=1),
        token_batches(lengths, 200, seed=1, epoch=0),
    ):
        assert other != first
        assert {frozenset(batch) for batch in other} != {frozenset(batch) for batch in first}


def test_seed_and_epoch_do_not_stand_for_each_other():
    lengths = spread(500)
    assert token_batches(lengths, 200, seed=1, epoch=0) != token_batches(
        lengths, 200, seed=0, epoch=1
    )


def test_short_and_long_batches_are_mixed_over_the_epoch():
    lengths = spread(2000)
    widths = [
        max(lengths[index][1] for index in batch)
        for batch in token_batches(lengths, 200, seed=0, epoch=0)
    ]
    assert widths != sorted(widths)


def test_sentences_of_like_length_meet_so_that_little_is_padding():
    lengths = [(index % 30 + 1, index % 30 + 1) for index in range(3000)]
    batches = token_batches(lengths, 300, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[i][1] for i in batch) for batch in batches)
    assert padded <= 1.05 * sum(target for _, target in lengths)


def test_a_pair_over_the_budget_is_named():
    with pytest.raises(DataError, match=r"lengths\[1\] is 61, expected at most the 60"):
        token_batches([(3, 4), (5, 61)], BUDGET, seed=0, epoch=0)


def test_no_pairs_make_no_batches():
    assert token_batches([], BUDGET, seed=0, epoch=0) == []


def test_rows_are_filled_up_to_the_longest():
    padded = pad([[5, 6, 7], [8], []])
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[5, 6, 7], [8, PAD, PAD], [PAD, PAD, PAD]]


@pytest.mark.parametrize(("rows", "shape"), [([], (0, 0)), ([[], []], (2, 0))])
def test_nothing_to_pad_keeps_two_dimensions(rows, shape):
    assert pad(rows).shape == shape
