import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.translation.batching import EncodedPairs, pad, token_batches
from quatrain.tasks.translation.vocabulary import BOS, EOS, PAD, VocabularySpec, train_vocabulary

BUDGET = 60
PAIRS = [("two dogs", "zwei Hunde"), ("one", "eins")]
lengths_of_pairs = st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), max_size=200)
seeds = st.integers(0, 2**31)


def varied_lengths(number):
    return [(3 + index * 7 % 20, 3 + index * 11 % 23) for index in range(number)]


@given(lengths=lengths_of_pairs, seed=seeds, epoch=st.integers(0, 1000))
def test_every_pair_is_in_exactly_one_batch_within_the_budget(lengths, seed, epoch):
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


def test_epoch_and_seed_change_the_content_and_the_order_of_batches():
    lengths = varied_lengths(2000)
    first = token_batches(lengths, 200, seed=0, epoch=0)
    for other in (
        token_batches(lengths, 200, seed=0, epoch=1),
        token_batches(lengths, 200, seed=1, epoch=0),
    ):
        assert other != first
        assert {frozenset(batch) for batch in other} != {frozenset(batch) for batch in first}


def test_seed_and_epoch_are_not_interchangeable():
    lengths = varied_lengths(500)
    assert token_batches(lengths, 200, seed=1, epoch=0) != token_batches(
        lengths, 200, seed=0, epoch=1
    )


def test_batches_are_not_sorted_by_length():
    lengths = varied_lengths(2000)
    widths = [
        max(lengths[index][1] for index in batch)
        for batch in token_batches(lengths, 200, seed=0, epoch=0)
    ]
    assert widths != sorted(widths)


def test_less_than_a_twentieth_is_padding():
    lengths = [(index % 30 + 1, index % 30 + 1) for index in range(3000)]
    batches = token_batches(lengths, 300, seed=0, epoch=0)
    padded = sum(len(batch) * max(lengths[i][1] for i in batch) for batch in batches)
    assert padded <= 1.05 * sum(target for _, target in lengths)


def test_a_pair_over_the_budget_is_refused():
    with pytest.raises(DataError) as raised:
        token_batches([(3, 4), (5, 61)], BUDGET, seed=0, epoch=0)
    assert raised.value.field == "lengths[1]"


def test_without_pairs_there_are_no_batches():
    assert token_batches([], BUDGET, seed=0, epoch=0) == []


def test_rows_are_padded_to_the_longest():
    padded = pad([[5, 6, 7], [8], []])
    assert padded.dtype == torch.int64
    assert padded.tolist() == [[5, 6, 7], [8, PAD, PAD], [PAD, PAD, PAD]]


@pytest.mark.parametrize(("rows", "shape"), [([], (0, 0)), ([[], []], (2, 0))])
def test_padded_rows_have_two_dimensions_even_if_empty(rows, shape):
    assert pad(rows).shape == shape


@pytest.fixture(scope="module")
def encoded():
    vocabulary = train_vocabulary(PAIRS, VocabularySpec(size=270))
    return EncodedPairs.encode(PAIRS, vocabulary, "training")


def test_sources_and_targets_have_special_tokens(encoded):
    assert all(ids[-1] == EOS and BOS not in ids for ids in encoded.sources)
    assert all((ids[0], ids[-1]) == (BOS, EOS) for ids in encoded.targets)


def test_the_length_of_a_target_is_the_number_of_predicted_tokens(encoded):
    assert encoded.lengths == [
        (len(source), len(target) - 1)
        for source, target in zip(encoded.sources, encoded.targets, strict=True)
    ]


def test_a_batch_is_padded_on_each_side(encoded):
    batch = encoded.collate([1, 0])
    assert batch["source"].shape == (2, len(encoded.sources[0]))
    assert batch["target"][0].tolist()[len(encoded.targets[1]) :] == [PAD] * (
        len(encoded.targets[0]) - len(encoded.targets[1])
    )


def check_lengths_error(pairs, budget):
    with pytest.raises(DataError) as raised:
        pairs.check_lengths(budget, "{} {}".format)
    return raised.value


def test_the_longest_pair_over_a_batch_is_located_and_the_others_are_counted():
    rows = [[3, EOS], [3] * 8 + [EOS], [3] * 5 + [EOS]]
    pairs = EncodedPairs(sources=[rows[0]] * 3, targets=[[BOS, *row] for row in rows])
    pairs.check_lengths(9, "{} {}".format)
    error = check_lengths_error(pairs, 8)
    assert error.field == "1 1"
    assert "9 tokens" in str(error)
    assert str(error).endswith("this pair")
    assert "1 more" in str(check_lengths_error(pairs, 5))
    assert check_lengths_error(EncodedPairs(pairs.targets, pairs.sources), 8).field == "1 0"


def test_an_empty_part_is_refused():
    vocabulary = train_vocabulary(PAIRS, VocabularySpec(size=270))
    with pytest.raises(DataError) as raised:
        EncodedPairs.encode([], vocabulary, "validation")
    assert raised.value.field == "validation part"
