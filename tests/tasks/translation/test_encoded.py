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


def test_the_longest_pair_over_a_batch_is_named_by_its_place_and_the_others_are_counted():
    rows = [[3, EOS], [3] * 8 + [EOS], [3] * 5 + [EOS]]
    encoded = Encoded(sources=[rows[0]] * 3, targets=[[BOS, *row] for row in rows])
    encoded.refuse_longer(9, "{} {}".format)
    with pytest.raises(DataError, match=r'^1 1 is "9 tokens", expected at most the 8 of') as caught:
        encoded.refuse_longer(8, "{} {}".format)
    assert str(caught.value).endswith("or remove this pair.")
    with pytest.raises(DataError, match=r"^1 1 is .* or remove this pair and 1 more that are"):
        encoded.refuse_longer(5, "{} {}".format)
    turned = Encoded(encoded.targets, encoded.sources)
    with pytest.raises(DataError, match=r"^1 0 is"):
        turned.refuse_longer(8, "{} {}".format)


def test_an_empty_part_is_named():
    vocabulary = train_vocabulary(PAIRS, VocabularySpec(size=270))
    with pytest.raises(DataError, match="validation part is"):
        Encoded.of([], vocabulary, "validation")
