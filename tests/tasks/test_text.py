import codecs
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.specs import DataError
from quatrain.tasks.text import decode_text, pointer, read_bytes, refuse_pointer, split_lines

LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:" + "0" * 64 + "\nsize 1234\n"
TEXTS = {
    "English": "a b c\nd e f\n",
    "German": "Zwölf Boxkämpfer\njagen Viktor\n",
    "Russian": "Привет, мир\nдва\n",
    "Chinese": "上海是一个大城市。\n我今天去了那里，天气很好。\n",
}


def problem(content):
    with pytest.raises(DataError) as caught:
        decode_text(content, "train.de")
    return str(caught.value)


@pytest.mark.parametrize("language", TEXTS)
@pytest.mark.parametrize("encoding", ["UTF-16LE", "UTF-16BE", "UTF-32LE", "UTF-32BE"])
def test_other_encodings_of_unicode_are_named_without_a_mark(language, encoding):
    message = problem(TEXTS[language].encode(encoding))
    assert f'train.de is "{encoding}", expected text in UTF-8' in message
    assert f"iconv -f {encoding} -t UTF-8" in message


@pytest.mark.parametrize(
    ("encoding", "mark"),
    [
        ("UTF-16LE", codecs.BOM_UTF16_LE),
        ("UTF-16BE", codecs.BOM_UTF16_BE),
        ("UTF-32LE", codecs.BOM_UTF32_LE),
        ("UTF-32BE", codecs.BOM_UTF32_BE),
    ],
)
def test_other_encodings_of_unicode_are_named_with_a_mark(encoding, mark):
    assert f'is "{encoding}"' in problem(mark + "äh\n".encode(encoding))


def test_a_long_file_of_another_encoding_is_named_from_its_beginning():
    assert 'is "UTF-16LE"' in problem(("😀 smile\n" * 20_001).encode("utf-16-le"))


@pytest.mark.parametrize("content", [b"one\ntwo\nth\0ree\n", b"one\ntwo\n" + b"\0" * 4096])
def test_a_nul_among_text_is_refused_with_its_line(content):
    message = problem(content)
    assert message.startswith('train.de:3 is "a NUL byte"')
    assert "UTF-16" not in message


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-7", "gbk", "shift_jis"])
def test_an_8_bit_encoding_is_refused_with_its_line_or_is_ascii(encoding):
    text = "eins\nzwei\n" + ("fünf" if encoding in {"latin-1", "cp1252"} else "三") + "\n"
    content = text.encode(encoding)
    if content.isascii():
        assert decode_text(content, "train.de") == content.decode()
    else:
        assert problem(content).startswith('train.de:3 is "byte 0x')


def test_half_a_surrogate_pair_is_not_utf_8():
    assert problem(b"eins\n\xed\xa0\x80\n").startswith('train.de:2 is "byte 0xed"')


@given(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])))
def test_any_other_text_is_read_as_it_is(text):
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
def test_a_pointer_in_place_of_the_data_is_refused_with_the_command(content, command):
    with pytest.raises(DataError, match=rf'train\.de is "a .* pointer".*{command}'):
        refuse_pointer(content, "train.de")
    assert command in problem(content)


def test_a_text_about_pointers_is_no_pointer():
    assert pointer(b"In version https://git-lfs.github.com/spec/v1 ...\n") is None
    assert pointer(LFS.encode() * 10) is None


@given(
    st.lists(st.text(st.characters(exclude_characters="\r\n")), min_size=1),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
)
def test_lines_come_back_whatever_ends_them(lines, end, closed):
    text = end.join([*lines, ""] if closed or not lines[-1] else lines)
    assert split_lines(text) == lines


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_other_separators_end_no_line(separator):
    assert split_lines(f"a{separator}b\nc\n") == [f"a{separator}b", "c"]


@pytest.mark.parametrize("text", ["a\rb\r", "a\rb"])
def test_carriage_returns_end_lines_where_no_line_feed_does(text):
    assert split_lines(text) == ["a", "b"]


def refusal(path):
    with pytest.raises(DataError) as caught:
        read_bytes(path)
    return str(caught.value)


def test_a_missing_file_is_named_with_what_is_beside_it(tmp_path):
    assert "its folder is empty" in refusal(tmp_path / "a.json")
    (tmp_path / "b.json").touch()
    assert "its folder holds b.json" in refusal(tmp_path / "a.json")
    assert "there is no folder" in refusal(tmp_path / "c" / "a.json")
    (tmp_path / "d").mkdir()
    assert "a file that can be read" in refusal(tmp_path / "d")


def test_a_git_lfs_pointer_is_no_data(tmp_path):
    path = tmp_path / "instances_train.json"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12\n")
    assert "git lfs pull" in refusal(path)


@pytest.mark.parametrize(
    ("start", "kind", "command"),
    [
        ("version https://git-lfs.github.com/spec/v1\noid sha256:12", "Git LFS", "git lfs pull"),
        ("version https://hawser.github.com/spec/v1\noid sha256:12", "Git LFS", "git lfs pull"),
        ("/annex/objects/MD5E-s12--34.jpg\n", "git-annex", "git annex get"),
    ],
)
def test_a_pointer_to_the_data_is_named_with_the_command_that_fetches_them(
    tmp_path, start, kind, command
):
    path = tmp_path / "a.json"
    path.write_text(start)
    message = refusal(path)
    assert message.startswith(f'{path} is "a {kind} pointer", expected the data')
    assert command in message


@pytest.mark.parametrize("name", ["a\0b.json", "\ud800.json"])
def test_a_name_that_the_system_cannot_have_is_refused(tmp_path, name):
    message = refusal(tmp_path / name)
    assert "data file is" in message
    assert "a file that can be read" in message


def test_a_folder_that_cannot_be_listed_is_no_harm(tmp_path, monkeypatch):
    def refuse(_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)
    assert "its folder cannot be listed: Permission denied" in refusal(tmp_path / "a")


def test_of_many_files_those_of_the_same_ending_are_named(tmp_path):
    for name in ("b.json", "c.json", "a.png", "z.JSON"):
        (tmp_path / name).touch()
    assert refusal(tmp_path / "a.json").endswith("its folder holds b.json, c.json.")
    assert "its folder holds a.png, b.json, c.json, z.JSON" in refusal(tmp_path / "a.txt")
