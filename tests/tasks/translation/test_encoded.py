import pytest

from quatrain.specs import DataError
from quatrain.tasks.translation.encoded import Encoded
from quatrain.tasks.translation.vocabulary import BOS, EOS, PAD, VocabularySpec, train_vocabulary

PAIRS = [("two dogs", "zwei Hunde"), ("one", "eins")]


@pytest.fixture(scope="module")
def encoded():
    return Encoded.of(PAIRS, train_vocabulary(PAIRS, VocabularySpec(size=270)), "training")


def test_sources_end_and_targets_begin_and_end_with_their_marks(encoded):
    assert all(ids[-1] == EOS and BOS not in ids for ids in encoded.sources)
    assert all((ids[0], ids[-1]) == (BOS, EOS) for ids in encoded.targets)


def test_a_targets_length_is_what_is_predicted(encoded):
    assert encoded.lengths == [
        (len(source), len(target) - 1)
        for source, target in zip(encoded.sources, encoded.targets, strict=True)
    ]
    assert encoded.longest == max(max(pair) for pair in encoded.lengths)


def test_a_batch_is_padded_on_each_side(encoded):
    batch = encoded.collate([1, 0])
    assert batch["source"].shape == (2, len(encoded.sources[0]))
    assert batch["target"][0].tolist()[len(encoded.targets[1]) :] == [PAD] * (
        len(encoded.targets[0]) - len(encoded.targets[1])
    )


def test_an_empty_part_is_named():
    vocabulary = train_vocabulary(PAIRS, VocabularySpec(size=270))
    with pytest.raises(DataError, match="validation part is"):
        Encoded.of([], vocabulary, "validation")
