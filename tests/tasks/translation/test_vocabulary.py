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
@settings(max_examples=40)
def test_decoding_restores_any_text_with_normalized_white_space(text):
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == " ".join(text.split())


@pytest.mark.parametrize("text", ["<pad>", "<s></s>", "[PAD] [EOS]", "Ġ Ċ", "日本 🙂", "e\u0301"])
def test_no_text_encodes_to_special_tokens(text):
    ids = VOCABULARY.encode(text)
    assert not {PAD, BOS, EOS} & set(ids)
    assert VOCABULARY.decode(ids) == text


def test_ids_are_below_the_size():
    ids = {i for pair in PAIRS for row in VOCABULARY.encode_batch(pair) for i in row}
    assert min(ids) >= 3
    assert max(ids) < VOCABULARY.size


def test_the_size_includes_special_tokens():
    assert VOCABULARY.size == 500


def test_special_tokens_are_skipped_in_decoding():
    ids = VOCABULARY.encode("halb vier")
    assert VOCABULARY.decode([BOS, *ids, EOS, PAD, PAD]) == "halb vier"
    assert VOCABULARY.decode([BOS, EOS]) == ""


def test_a_batch_is_encoded_like_its_texts():
    texts = [source for source, _ in PAIRS[:20]]
    assert VOCABULARY.encode_batch(texts) == [VOCABULARY.encode(text) for text in texts]
    assert VOCABULARY.encode_batch([]) == []


def test_the_first_word_has_the_same_tokens_as_later_ones():
    assert VOCABULARY.encode("um halb vier")[1:] == VOCABULARY.encode("halb vier")


def test_frequent_words_are_one_token():
    assert len(VOCABULARY.encode("wurden")) == 1


def test_the_same_pairs_give_the_same_vocabulary(tmp_path):
    VOCABULARY.save(tmp_path / "a.json")
    train_vocabulary(list(PAIRS), VocabularySpec(size=500)).save(tmp_path / "b.json")
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_loaded_vocabulary_encodes_as_the_saved_one(tmp_path):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    loaded = Vocabulary.load(path)
    assert loaded.size == VOCABULARY.size
    for source, target in PAIRS[:50]:
        assert loaded.encode(target) == VOCABULARY.encode(target)
        assert loaded.decode(VOCABULARY.encode(source)) == source
    assert [entry.name for entry in tmp_path.iterdir()] == ["vocabulary.json"]


DAMAGED = {
    "empty": b"",
    "truncated": None,
    "not UTF-8": b"\xff\xfe",
    "other file": b"{}",
    "deeply nested": b"[" * 100_000,
    "number of 5,000 digits": b'{"truncation": ' + b"9" * 5000 + b"}",
    "no byte tokens": b'{"version": "1.0", "model": {"type": "BPE", "vocab": {}, "merges": []}}',
}


def loading_error(path):
    with pytest.raises(StoredFileError) as raised:
        Vocabulary.load(path)
    assert raised.value.field == str(path)
    return raised.value


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_vocabulary_is_refused(tmp_path, damage):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    content = path.read_bytes()
    path.write_bytes(DAMAGED[damage] if damage != "truncated" else content[: len(content) // 2])
    loading_error(path)


def save_edited(path, change):
    """Save the vocabulary with a change of the parsed file."""
    VOCABULARY.save(path)
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


INVALID = {
    "id beyond the size": lambda model: model["vocab"].update(a=5000),
    "duplicate id": lambda model: model["vocab"].update(a=3),
    "negative id": lambda model: model["vocab"].update(a=-1),
    "byte without token": lambda model: model["vocab"].pop("a"),
    "merge of unknown tokens": lambda model: model["merges"].append(["zz", "q"]),
    "merge into no token": lambda model: model["merges"].append(["q", "z"]),
    "merge of one token": lambda model: model["merges"].append(["a"]),
}


@pytest.mark.parametrize("change", INVALID.values(), ids=INVALID)
def test_invalid_tokens_and_merges_are_refused(tmp_path, change):
    save_edited(tmp_path / "vocabulary.json", lambda file: change(file["model"]))
    loading_error(tmp_path / "vocabulary.json")


SETTINGS = {
    "prefix": lambda file: file["model"].update(continuing_subword_prefix="####"),
    "truncation": lambda file: file.update(
        truncation={"direction": "Right", "max_length": 1, "strategy": "LongestFirst", "stride": 3}
    ),
    "dropout": lambda file: file["model"].update(dropout=0.9),
    "normalizer": lambda file: file.update(normalizer={"type": "Lowercase"}),
    "no pre-tokenizer": lambda file: file.update(pre_tokenizer=None),
    "a setting of another version": lambda file: file["model"].update(new_setting=False),
    "no setting of this version": lambda file: file["model"].pop("ignore_merges"),
}


@pytest.mark.parametrize("change", SETTINGS.values(), ids=SETTINGS)
def test_only_tokens_and_merges_are_read(tmp_path, change):
    save_edited(tmp_path / "vocabulary.json", change)
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    for source, target in PAIRS[:50]:
        assert loaded.encode(target) == VOCABULARY.encode(target)
        assert loaded.decode(VOCABULARY.encode(source)) == source


def test_a_vocabulary_with_any_damaged_bytes_is_refused_or_works(tmp_path):
    path = tmp_path / "vocabulary.json"
    VOCABULARY.save(path)
    saved, generator = path.read_bytes(), random.Random(0)
    for _ in range(60):
        content = bytearray(saved)
        for _ in range(generator.randint(1, 3)):
            content[generator.randrange(len(content))] = generator.randrange(32, 127)
        path.write_bytes(content)
        try:
            loaded = Vocabulary.load(path)
        except StoredFileError:
            continue
        assert loaded.decode(range(loaded.size)) is not None
        assert max(loaded.encode("zwei Hunde am 3. Mai")) < loaded.size


def test_a_git_lfs_pointer_is_refused_with_the_command(tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    assert "git lfs pull" in str(loading_error(path))


@pytest.mark.timeout(30)
def test_a_missing_vocabulary_and_a_named_pipe_are_refused(tmp_path):
    path = tmp_path / "vocabulary.json"
    loading_error(path)
    os.mkfifo(path)
    loading_error(path)


def test_a_vocabulary_too_small_for_the_bytes_is_refused():
    with pytest.raises(SpecError) as raised:
        VocabularySpec(size=259)
    assert raised.value.field == "VocabularySpec.size"
    assert train_vocabulary(PAIRS, VocabularySpec(size=260)).size == 260


@pytest.mark.parametrize("pairs", [[], [("", " ")]])
def test_a_vocabulary_needs_text(pairs):
    with pytest.raises(DataError) as raised:
        train_vocabulary(pairs, VocabularySpec())
    assert raised.value.field == "vocabulary"


@pytest.mark.parametrize("text", ["\ud800", "one \udcff two"])
def test_a_surrogate_is_refused_with_the_number_of_its_text(text):
    for call in (
        lambda: VOCABULARY.encode_batch(["two dogs", text]),
        lambda: train_vocabulary([("one", text)], VocabularySpec()),
    ):
        with pytest.raises(DataError) as raised:
            call()
        assert raised.value.field == "text 2"


def test_control_characters_are_restored_except_white_space():
    text = "a\0b \x07\x1b[31m\x7f \x85\x1c\u2028 z"
    assert VOCABULARY.decode(VOCABULARY.encode(text)) == "a\0b \x07\x1b[31m\x7f z"


@pytest.mark.parametrize("word", ["ab", pytest.param("上海是一个大城市", marks=pytest.mark.slow)])
def test_training_on_a_word_of_300_000_characters_takes_seconds(word):
    word *= 300_000 // len(word)
    start = time.monotonic()
    vocabulary = train_vocabulary([*PAIRS, (word, "x")], VocabularySpec(size=1000))
    assert vocabulary.decode(vocabulary.encode(word)) == word
    assert time.monotonic() - start < 15  # over a minute if quadratic in the length


def test_words_of_up_to_1000_characters_are_not_split(tmp_path):
    names = ["one word", "two words"]
    word = "".join(random.Random(0).choices("ab", k=1000))
    for name, text in zip(names, (word, f"{word[:500]} {word[500:]}"), strict=True):
        train_vocabulary([(text, "c")], VocabularySpec(size=400)).save(tmp_path / name)
    contents = [(tmp_path / name).read_bytes() for name in names]
    assert contents[0] != contents[1]
    train_vocabulary([(word * 2, "c")], VocabularySpec(size=400)).save(tmp_path / "twice")
    train_vocabulary([(f"{word} {word}", "c")], VocabularySpec(size=400)).save(tmp_path / "apart")
    assert (tmp_path / "twice").read_bytes() == (tmp_path / "apart").read_bytes()


def test_a_small_text_yields_fewer_tokens_than_the_size():
    vocabulary = train_vocabulary([("ab", "ab")], VocabularySpec(size=1000))
    assert vocabulary.size < 300
    assert vocabulary.decode(vocabulary.encode("zwölf")) == "zwölf"


@pytest.mark.data
def test_decoding_restores_real_sentences(shared_data):
    corpus = ParallelTextSpec().read(shared_data / "mini" / "translation")
    vocabulary = train_vocabulary(corpus.train, VocabularySpec(size=2000))
    assert vocabulary.size == 2000
    for pair in corpus.test:
        for side, ids in zip(pair, vocabulary.encode_batch(pair), strict=True):
            assert vocabulary.decode(ids) == " ".join(side.split())
