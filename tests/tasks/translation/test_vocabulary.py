import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quatrain.specs import DataError, SpecError, StoredFileError
from quatrain.tasks.translation.numerals import NumeralsSpec
from quatrain.tasks.translation.parallel_text import ParallelTextSpec
from quatrain.tasks.translation.vocabulary import (
    BOS,
    EOS,
    PAD,
    Vocabulary,
    VocabularySpec,
    train_vocabulary,
)

PAIRS = NumeralsSpec(train=500, valid=1, test=1).read().train
VOCABULARY = train_vocabulary(PAIRS, VocabularySpec(size=500))


@given(text=st.text())
@settings(max_examples=100)
def test_any_text_comes_back_with_its_white_space_tidied(text):
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["<pad>", "<s></s>", "[PAD] [EOS]", "Ġ Ċ", "日本 🙂", "e\u0301"])
def test_no_text_is_unknown_and_none_encodes_to_a_mark(text):
    ids = VOCABULARY.encode(text)
    assert not {PAD, BOS, EOS} & set(ids)
    assert VOCABULARY.decode(ids) == text


def test_ids_are_below_the_size():
    ids = {i for pair in PAIRS for row in VOCABULARY.encode_batch(pair) for i in row}
    assert min(ids) >= 3
    assert max(ids) < VOCABULARY.size


def test_the_size_counts_the_marks():
    assert VOCABULARY.size == 500


def test_marks_are_skipped_when_decoding():
    ids = VOCABULARY.encode("halb vier")
    assert VOCABULARY.decode([BOS, *ids, EOS, PAD, PAD]) == "halb vier"
    assert VOCABULARY.decode([BOS, EOS]) == ""


def test_a_batch_is_encoded_like_its_texts():
    texts = [source for source, _ in PAIRS[:20]]
    assert VOCABULARY.encode_batch(texts) == [VOCABULARY.encode(text) for text in texts]
    assert VOCABULARY.encode_batch([]) == []


def test_a_sentence_starts_with_the_same_symbols_as_the_word_within():
    assert VOCABULARY.encode("um halb vier")[1:] == VOCABULARY.encode("halb vier")


def test_frequent_words_are_one_symbol():
    assert len(VOCABULARY.encode("wurden")) == 1


def test_the_same_pairs_give_the_same_vocabulary(tmp_path):
    VOCABULARY.save(tmp_path / "a.json")
    train_vocabulary(list(PAIRS), VocabularySpec(size=500)).save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_stored_vocabulary_encodes_as_before(tmp_path):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    loaded = Vocabulary.load(path)
    assert loaded.size == VOCABULARY.size
    for source, target in PAIRS[:50]:
        assert loaded.encode(target) == VOCABULARY.encode(target)
        assert loaded.decode(VOCABULARY.encode(source)) == source
    assert [entry.name for entry in tmp_path.iterdir()] == ["vocabulary.json"]


def damaged_files():
    return {
        "nothing": b"",
        "half": None,
        "not text": b"\xff\xfe",
        "another file": b"{}",
        "no bytes": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}',
    }


@pytest.mark.parametrize("damage", list(damaged_files()))
def test_a_damaged_vocabulary_is_named(tmp_path, damage):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    whole = path.read_bytes()
    content = damaged_files()[damage]
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(StoredFileError, match=r"vocabulary\.json"):
        Vocabulary.load(path)


def test_a_missing_vocabulary_is_named(tmp_path):
    with pytest.raises(StoredFileError, match=r"vocabulary\.json"):
        Vocabulary.load(tmp_path / "vocabulary.json")


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(SpecError, match=r"VocabularySpec\.size is 259"):
        VocabularySpec(size=259)
    assert train_vocabulary(PAIRS, VocabularySpec(size=260)).size == 260


@pytest.mark.parametrize("pairs", [[], [("", " ")]])
def test_no_text_gives_no_vocabulary(pairs):
    with pytest.raises(DataError, match="vocabulary"):
        train_vocabulary(pairs, VocabularySpec())


def test_a_small_text_yields_fewer_symbols_than_asked_for():
    vocabulary = train_vocabulary([("ab", "ab")], VocabularySpec(size=1000))
    assert vocabulary.size < 300
    assert vocabulary.decode(vocabulary.encode("zwölf")) == "zwölf"


@pytest.mark.data
def test_real_sentences_come_back(shared_data):
    corpus = ParallelTextSpec().read(shared_data / "mini" / "translation")
    vocabulary = train_vocabulary(corpus.train, VocabularySpec(size=2000))
    assert vocabulary.size == 2000
    for pair in corpus.test:
        for side, ids in zip(pair, vocabulary.encode_batch(pair), strict=True):
            assert vocabulary.decode(ids) == " ".join(side.split())
