import codecs
import dataclasses
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError, SpecError, identity
from quatrain.tasks.translation.parallel_text import (
    WMT14,
    WMT14_JOINED,
    Corpus,
    LineNumbers,
    ParallelTextSpec,
)


@pytest.fixture
def folder(tmp_path):
    for stem in ("train", "valid", "test"):
        (tmp_path / f"{stem}.en").write_text(f"one {stem}\ntwo\nthree\n", encoding="utf-8")
        (tmp_path / f"{stem}.de").write_text(f"eins {stem}\nzwei\ndrei\n", encoding="utf-8")
    return tmp_path


def reading_error(folder, **fields):
    with pytest.raises(DataError) as raised:
        ParallelTextSpec(**fields).read(folder)
    return raised.value


def test_three_parts_are_read_with_the_hashes_of_their_files(folder):
    corpus = ParallelTextSpec().read(folder)
    assert corpus.train == [("one train", "eins train"), ("two", "zwei"), ("three", "drei")]
    assert corpus.valid[0] == ("one valid", "eins valid")
    assert corpus.test[0] == ("one test", "eins test")
    assert corpus.languages == ("en", "de")
    assert sorted(corpus.hashes) == sorted(path.name for path in folder.iterdir())
    content = (folder / "train.de").read_bytes()
    assert corpus.hashes["train.de"] == hashlib.sha256(content).hexdigest()


def test_the_languages_determine_the_direction(folder):
    corpus = ParallelTextSpec(source="de", target="en").read(folder)
    assert corpus.train[1] == ("zwei", "two")


def test_the_limit_applies_to_training_pairs_only(folder):
    corpus = ParallelTextSpec(limit=2).read(folder)
    assert (len(corpus.train), len(corpus.valid), len(corpus.test)) == (2, 3, 3)
    assert corpus.dropped == 0


def test_several_stems_are_read_in_order(folder):
    corpus = ParallelTextSpec(train=("test", "train")).read(folder)
    assert [source for source, _ in corpus.train[::3]] == ["one test", "one train"]


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c"])
def test_only_line_feeds_end_lines(folder, separator):
    text = f"one{separator}and a half\ntwo\nthree\n"
    (folder / "train.en").write_text(text, encoding="utf-8", newline="\n")
    assert ParallelTextSpec().read(folder).train[0][0] == f"one{separator}and a half"


def test_byte_order_marks_and_carriage_returns_are_removed(folder):
    (folder / "train.en").write_bytes(codecs.BOM_UTF8 + b"one\r\ntwo\r\nthree")
    assert [source for source, _ in ParallelTextSpec().read(folder).train] == [
        "one",
        "two",
        "three",
    ]


def test_long_pairs_are_left_out_of_the_training_part_only(folder):
    for stem in ("train", "valid", "test"):
        (folder / f"{stem}.de").write_text("eins\n" + "zwei " * 9 + "\ndrei\n", encoding="utf-8")
    corpus = ParallelTextSpec(longest=8).read(folder)
    assert corpus.train == [("one train", "eins"), ("three", "drei")]
    assert corpus.dropped == 1
    assert len(corpus.valid) == len(corpus.test) == 3
    assert ParallelTextSpec(longest=9).read(folder).dropped == 0


@given(
    parts=st.lists(st.lists(st.sampled_from(["", "a", "a b", "a b c"]), max_size=6), min_size=1),
    end=st.sampled_from(["\n", "\r\n"]),
    limit=st.none() | st.integers(1, 8),
)
def test_each_pair_is_located_in_its_files(tmp_path_factory, parts, end, limit):
    folder = tmp_path_factory.mktemp("text")
    stems = [f"part{number}" for number in range(len(parts))] + ["held-out"]
    contents = [["x", *part] for part in parts] + [["x"]]
    for stem, rows in zip(stems, contents, strict=True):
        for language in ("en", "de"):
            content = "".join(f"{row}{end}" for row in rows)
            (folder / f"{stem}.{language}").write_bytes(content.encode())
    spec = ParallelTextSpec(
        train=tuple(stems[:-1]),
        valid="held-out",
        test="held-out",
        drop_empty=True,
        longest=2,
        limit=limit,
    )
    corpus = spec.read(folder)
    for number, pair in enumerate(corpus.train):
        for side in (0, 1):
            name, _, line = corpus.location(number, side).rpartition(":")
            lines = (folder / name).read_text().split("\n")
            assert (lines[int(line) - 1], name[-3:]) == (pair[side], (".en", ".de")[side])


def test_another_encoding_is_refused(folder):
    (folder / "train.de").write_bytes("eins\nfünf\ndrei\n".encode("latin-1"))
    assert reading_error(folder).field == "train.de:2"
    (folder / "train.de").write_bytes("eins\nzwei\ndrei\n".encode("UTF-16LE"))
    error = reading_error(folder)
    assert error.field == "train.de"
    assert "UTF-16LE" in str(error)


def test_other_control_characters_are_kept(folder):
    (folder / "train.de").write_bytes(b"eins\nz\x07w\x1bei\x7f\n\x01\n")
    assert [target for _, target in ParallelTextSpec().read(folder).train] == [
        "eins",
        "z\x07w\x1bei\x7f",
        "\x01",
    ]


def test_a_git_lfs_pointer_is_refused(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n"
    for language in ("en", "de"):
        (folder / f"test.{language}").write_text(pointer)
    assert "git lfs pull" in str(reading_error(folder))


def test_carriage_returns_alone_end_lines(folder):
    for language, rows in (("en", "one\rtwo\r"), ("de", "eins\rzwei")):
        (folder / f"train.{language}").write_bytes(rows.encode())
    assert ParallelTextSpec().read(folder).train == [("one", "eins"), ("two", "zwei")]


def test_a_line_without_spaces_counts_as_one_word(folder):
    (folder / "train.de").write_text("上" * 500 + "\nzwei\ndrei\n", encoding="utf-8")
    assert ParallelTextSpec(longest=2).read(folder).dropped == 0


def test_at_least_one_training_pair_must_remain(folder):
    (folder / "train.de").write_text("eins zwei drei vier\n" * 3, encoding="utf-8")
    assert reading_error(folder, longest=3).field == "training pairs"


def test_an_empty_line_is_refused(folder):
    (folder / "train.de").write_text("eins\n \ndrei\n", encoding="utf-8")
    error = reading_error(folder)
    assert error.field == "train.de:2"
    assert "drop_empty" in str(error)


def test_empty_training_lines_can_be_dropped(folder):
    (folder / "train.de").write_text("eins\n\ndrei\n", encoding="utf-8")
    corpus = ParallelTextSpec(drop_empty=True).read(folder)
    assert corpus.train == [("one train", "eins"), ("three", "drei")]
    assert corpus.dropped == 1


def test_empty_test_lines_are_never_dropped(folder):
    (folder / "test.en").write_text("one\n\nthree\n", encoding="utf-8")
    assert reading_error(folder, drop_empty=True).field == "test.en:2"


def test_files_of_unequal_length_are_refused(folder):
    (folder / "valid.de").write_text("eins\nzwei\n", encoding="utf-8")
    error = reading_error(folder)
    assert "valid.en has 3 lines and valid.de has 2" in str(error)


def test_the_error_of_a_missing_file_lists_its_folder(folder):
    (folder / "train.de").unlink()
    error = reading_error(folder)
    assert error.field == str(folder / "train.de")
    assert str(error).endswith(" test.de, valid.de")


@pytest.mark.parametrize("content", [b"", b"\n", codecs.BOM_UTF8, b"\r\n\r\n"])
def test_an_empty_file_is_refused(folder, content):
    (folder / "test.de").write_bytes(content)
    assert reading_error(folder).field == "test.de"


def test_a_missing_folder_is_refused(tmp_path):
    assert reading_error(None).field == "--data"
    assert str(tmp_path / "missing") in str(reading_error(tmp_path / "missing"))


def test_equal_languages_are_refused():
    with pytest.raises(SpecError) as raised:
        ParallelTextSpec(source="de")
    assert raised.value.field == "ParallelTextSpec.target"


def test_wmt14_is_read_by_its_published_file_names(tmp_path):
    stems = [*WMT14.train, WMT14.valid, WMT14.test]
    for stem in stems:
        (tmp_path / f"{stem}.en").write_text(f"{stem}\n", encoding="utf-8")
        (tmp_path / f"{stem}.de").write_text(f"{stem}\n", encoding="utf-8")
    corpus = WMT14.read(tmp_path)
    assert [source for source, _ in corpus.train] == list(WMT14.train)
    assert "europarl-v7.de-en.en" in corpus.hashes
    for language in ("en", "de"):
        (tmp_path / f"train.{language}").write_text("joined\n", encoding="utf-8")
    assert WMT14_JOINED.read(tmp_path).train == [("joined", "joined")]
    assert WMT14_JOINED.read(tmp_path).test == corpus.test


def test_a_spec_restored_from_json_has_the_same_identity():
    assert identity(ParallelTextSpec.from_json(WMT14.to_json()), 0) == identity(WMT14, 0)


@pytest.mark.data
def test_real_text_is_read_completely(shared_data):
    mini = ParallelTextSpec().read(shared_data / "mini" / "translation")
    assert (len(mini.train), len(mini.valid), len(mini.test)) == (2000, 200, 200)
    full = ParallelTextSpec(source="de", target="en").read(shared_data / "multi30k")
    assert (len(full.train), len(full.valid), len(full.test)) == (29000, 1014, 1000)
    assert (mini.dropped, full.dropped) == (0, 0)


def test_a_corpus_is_frozen():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    with pytest.raises(dataclasses.FrozenInstanceError):
        corpus.dropped = 1


def test_the_location_of_a_pair_counts_lines_that_were_left_out():
    files = (("a.en", "a.de"), ("b.en", "b.de"), ("c.en", "c.de"))
    lines = LineNumbers(files, ends=(3, 3, 5), numbers=(0, 2, 3, 4))
    locations = [lines.location(pair, pair % 2) for pair in range(4)]
    assert locations == ["a.en:1", "a.de:3", "c.en:1", "c.de:2"]


def test_generated_pairs_are_counted_from_one():
    corpus = Corpus([("one", "eins")], [], [], ("en", "de"), {})
    assert corpus.location(0, 1) == "training pair 1"
