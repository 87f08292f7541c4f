import json
import os
import random
import time

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
        "deeply nested": b"[" * 100_000,
        "a number of 5,000 digits": b'{"truncation": ' + b"9" * 5000 + b"}",
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


def edited(change):
    """The stored vocabulary with one change to the parsed file."""

    def write(path):
        VOCABULARY.save(path)
        document = json.loads(path.read_text())
        change(document)
        path.write_text(json.dumps(document))

    return write


EDITS = {
    "a prefix that panics": lambda file: file["model"].update(continuing_subword_prefix="####"),
    "a prefix of two bytes that panics": lambda file: file["model"].update(
        continuing_subword_prefix="ü"
    ),
    "truncation that panics when used": lambda file: file.update(
        truncation={"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 3}
    ),
    "padding": lambda file: file.update(
        padding={
            "strategy": {"Fixed": 9},
            "direction": "Right",
            "pad_to_multiple_of": None,
            "pad_id": 0,
            "pad_type_id": 0,
            "pad_token": "[PAD]",
        }
    ),
    "an id beyond the size": lambda file: file["model"]["vocab"].update(a=5000),
    "an id twice": lambda file: file["model"]["vocab"].update(a=3),
    "an id below zero": lambda file: file["model"]["vocab"].update(a=-1),
    "an empty symbol": lambda file: file["model"]["vocab"].update({"": 497}),
    "a merge of no symbols": lambda file: file["model"]["merges"].append(["zz", "q"]),
    "a merge of one symbol": lambda file: file["model"]["merges"].append(["a"]),
    "dropout": lambda file: file["model"].update(dropout=0.9),
    "a suffix": lambda file: file["model"].update(end_of_word_suffix="</w>"),
    "another normalizer": lambda file: file.update(normalizer={"type": "Lowercase"}),
    "no pre-tokenizer": lambda file: file.update(pre_tokenizer=None),
    "no decoder": lambda file: file.update(decoder=None),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_vocabulary_that_would_read_text_in_another_way_is_named(tmp_path, edit):
    path = tmp_path / "vocabulary.json"
    edited(EDITS[edit])(path)
    with pytest.raises(StoredFileError, match=r"vocabulary\.json.*delete the run's folder"):
        Vocabulary.load(path)


def test_a_setting_of_another_version_of_the_library_is_no_damage(tmp_path):
    path = tmp_path / "vocabulary.json"
    edited(lambda file: file["model"].update(new_setting=False))(path)
    edited(lambda file: file["model"].pop("ignore_merges"))(path)
    assert Vocabulary.load(path).encode("halb vier") == VOCABULARY.encode("halb vier")


def test_whatever_bytes_are_damaged_a_vocabulary_is_named_or_works(tmp_path):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    whole, generator = path.read_bytes(), random.Random(0)
    for _ in range(200):
        content = bytearray(whole)
        for _ in range(generator.randint(1, 3)):
            content[generator.randrange(len(content))] = generator.randrange(32, 127)
        path.write_bytes(content)
        try:
            loaded = Vocabulary.load(path)
        except StoredFileError:
            continue
        assert loaded.decode(range(loaded.size)) is not None
        assert max(loaded.encode("zwei Hunde am 3. Mai")) < loaded.size


def test_a_vocabulary_that_is_a_git_lfs_pointer_is_to_be_fetched(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    with pytest.raises(StoredFileError, match="git lfs pull") as caught:
        Vocabulary.load(path)
    assert "delete" not in str(caught.value)


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


@pytest.mark.parametrize("text", ["\ud800", "one \udcff two"])
def test_a_surrogate_is_refused_with_its_text(text):
    with pytest.raises(DataError, match=r"text 2 is .*\\ud.*surrogates"):
        VOCABULARY.encode_batch(["two dogs", text])
    with pytest.raises(DataError, match="text 2 is"):
        train_vocabulary([("one", text)], VocabularySpec())


def test_control_characters_come_back_and_white_space_among_them_becomes_a_space():
    text = "a\0b \x07\x1b[31m\x7f \x85\x1c\u2028 z"
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == "a\0b \x07\x1b[31m\x7f z"


@pytest.mark.parametrize("word", ["ab", "上海是一个大城市", "1"])
def test_a_word_of_300_000_characters_is_learnt_in_seconds(word):
    word *= 300_000 // len(word)
    start = time.monotonic()
    vocabulary = train_vocabulary([*PAIRS, (word, "x")], VocabularySpec(size=1000))
    assert vocabulary.decode(vocabulary.encode(word)) == word
    assert time.monotonic() - start < 15  # it was over a minute, quadratic in the length


def test_words_up_to_1000_characters_are_learnt_whole(tmp_path):
    names = ["whole", "halved"]
    word = "".join(random.Random(0).choices("ab", k=1000))
    for name, text in zip(names, (word, f"{word[:500]} {word[500:]}"), strict=True):
        train_vocabulary([(text, "c")], VocabularySpec(size=400)).save(tmp_path / name)
    contents = [(tmp_path / name).read_bytes() for name in names]
    assert contents[0] != contents[1]
    train_vocabulary([(word * 2, "c")], VocabularySpec(size=400)).save(tmp_path / "twice")
    train_vocabulary([(f"{word} {word}", "c")], VocabularySpec(size=400)).save(tmp_path / "apart")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "apart").read_bytes()


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


@pytest.mark.timeout(30)
def test_a_pipe_in_the_place_of_a_vocabulary_is_refused(tmp_path):
    os.mkfifo(tmp_path / "vocabulary.json")
    with pytest.raises(StoredFileError, match=r"vocabulary\.json is .no regular file"):
        Vocabulary.load(tmp_path / "vocabulary.json")
