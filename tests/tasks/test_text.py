import codecs
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.text import (
    check_not_pointer,
    data_folder,
    decode_text,
    list_folder,
    pointer_kind,
    read_bytes,
    split_lines,
)

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234\n"
TEXTS = {
    "English": "a b c\nd e f\n",
    "German": "Zwölf Boxkämpfer\njagen Viktor\n",
    "Russian": "Привет, мир\nдва\n",
    "Chinese": "上海是一个大城市。\n我今天去了那里，天气很好。\n",
}
MARKS = {
    "UTF-16LE": codecs.BOM_UTF16_LE,
    "UTF-16BE": codecs.BOM_UTF16_BE,
    "UTF-32LE": codecs.BOM_UTF32_LE,
    "UTF-32BE": codecs.BOM_UTF32_BE,
}


def decoding_error(content):
    with pytest.raises(DataError) as raised:
        decode_text(content, "train.de")
    return raised.value


@pytest.mark.parametrize("encoding", MARKS)
def test_other_unicode_encodings_are_named(encoding):
    contents = [text.encode(encoding) for text in TEXTS.values()]
    for content in (*contents, MARKS[encoding] + "äh\n".encode(encoding)):
        error = decoding_error(content)
        assert error.field == "train.de"
        assert f"iconv -f {encoding}" in str(error)


def test_the_encoding_of_a_long_file_is_inferred_from_its_beginning():
    assert "UTF-16LE" in str(decoding_error(("😀 smile\n" * 20_001).encode("utf-16-le")))


@pytest.mark.parametrize("content", [b"one\ntwo\nth\0ree\n", b"one\ntwo\n" + b"\0" * 4096])
def test_a_nul_byte_is_refused_with_its_line(content):
    error = decoding_error(content)
    assert error.field == "train.de:3"
    assert "a NUL byte" in str(error)


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-7", "gbk", "shift_jis"])
def test_text_in_another_encoding_is_refused_with_its_line_unless_it_is_ascii(encoding):
    text = "eins\nzwei\n" + ("fünf" if encoding in {"latin-1", "cp1252"} else "三") + "\n"
    content = text.encode(encoding)
    if content.isascii():
        assert decode_text(content, "train.de") == content.decode()
    else:
        assert decoding_error(content).field == "train.de:3"


def test_half_a_surrogate_pair_is_not_utf_8():
    error = decoding_error(b"eins\n\xed\xa0\x80\n")
    assert error.field == "train.de:2"
    assert "byte 0xed" in str(error)


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_other_text_is_decoded_unchanged(text):
    assert decode_text(text.encode(), "train.de") == text.removeprefix("\ufeff")


@pytest.mark.parametrize(
    ("content", "command"),
    [
        (LFS.encode(), "git lfs pull"),
        (LFS.replace("\n", "\r\n").encode(), "git lfs pull"),
        (LFS.replace("git-lfs.github", "hawser.github").encode(), "git lfs pull"),
        (b"/annex/objects/SHA256E-s1234--" + b"0" * 64 + b".de\n", "git annex get"),
    ],
)
def test_a_pointer_in_place_of_the_data_is_refused_with_the_command(tmp_path, content, command):
    with pytest.raises(DataError) as raised:
        check_not_pointer(content, "train.de")
    assert raised.value.field == "train.de"
    assert command in str(raised.value)
    (tmp_path / "a.json").write_bytes(content)
    assert command in str(reading_error(tmp_path / "a.json"))


def test_a_text_about_pointers_is_not_a_pointer():
    assert pointer_kind(b"In version https://git-lfs.github.com/spec/v1 ...\n") is None
    assert pointer_kind(LFS.encode() * 10) is None


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n")), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_lines_are_split_at_line_feeds(lines, end, closed):
    text = end.join([*lines, ""] if closed or not lines[-1] else lines)
    assert split_lines(text) == lines


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_other_separators_do_not_end_a_line(separator):
    assert split_lines(f"a{separator}b\nc\n") == [f"a{separator}b", "c"]


@pytest.mark.parametrize("text", ["a\rb\r", "a\rb"])
def test_without_line_feeds_carriage_returns_end_lines(text):
    assert split_lines(text) == ["a", "b"]


def reading_error(path):
    with pytest.raises(DataError) as raised:
        read_bytes(path)
    return raised.value


def test_the_error_of_a_missing_file_lists_its_folder(tmp_path):
    path = tmp_path / "a.json"
    assert reading_error(path).field == str(path)
    assert "empty" in str(reading_error(path))
    for name in ("b.json", "c.json", "a.png", "z.JSON"):
        (tmp_path / name).touch()
    assert str(reading_error(path)).endswith(" b.json, c.json")
    assert str(reading_error(tmp_path / "a.txt")).endswith(" a.png, b.json, c.json, z.JSON")
    assert str(tmp_path / "c") in str(reading_error(tmp_path / "c" / "a.json"))


def test_a_folder_that_cannot_be_listed_does_not_hide_the_error(tmp_path, monkeypatch):
    def fail(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", fail)
    assert "Permission denied" in str(reading_error(tmp_path / "a"))


@pytest.mark.timeout(30)
@pytest.mark.parametrize("create", [Path.mkdir, os.mkfifo], ids=["folder", "named pipe"])
def test_only_regular_files_are_read(tmp_path, create):
    create(tmp_path / "train.de")
    assert "no regular file" in str(reading_error(tmp_path / "train.de"))


@pytest.mark.parametrize("name", ["a\0b.json", "\ud800.json"])
def test_an_impossible_file_name_is_refused(tmp_path, name):
    assert reading_error(tmp_path / name).field == str(tmp_path / name)


def test_the_error_of_a_missing_file_does_not_need_its_folder(tmp_path):
    assert "name too long" in list_folder(tmp_path / ("a" * 10_000)).lower()


def test_a_file_larger_than_the_memory_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1234)

    def fill(_):
        raise MemoryError

    monkeypatch.setattr("quatrain.tasks.text.stat.S_ISREG", fill)
    assert "1,234 bytes, more than fit into memory" in str(reading_error(path))


def test_the_data_folder_must_be_given_and_exist(tmp_path):
    assert data_folder(tmp_path, "images") == tmp_path
    for folder, problem in ((None, "pass --data"), (tmp_path / "nowhere", "nowhere is no folder")):
        with pytest.raises(DataError, match=problem) as raised:
            data_folder(folder, "images")
        assert raised.value.field == "--data"
