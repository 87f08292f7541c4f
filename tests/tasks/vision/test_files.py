import codecs

import pytest
from pydantic import TypeAdapter

from quatrain.specs import DataError
from quatrain.tasks.vision.files import (
    data_folder,
    decode,
    parse_json,
    refuse_repeats,
    require_files,
    require_name,
    sha256,
)


def problem(function, *arguments):
    with pytest.raises(DataError) as caught:
        function(*arguments)
    return str(caught.value)


def test_the_data_folder_must_be_given_and_exist(tmp_path):
    assert data_folder(tmp_path, "images") == tmp_path
    assert problem(data_folder, None, "images").startswith("--data is None, expected a folder of")
    assert "nowhere" in problem(data_folder, tmp_path / "nowhere", "images")


def test_missing_files_are_counted(tmp_path):
    (tmp_path / "1.jpg").touch()
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    message = problem(require_files, paths, "train.json")
    assert f'the files named in train.json is "missing 2 of 3, the first {paths[0]}"' in message


def test_text_is_utf_8_with_or_without_a_mark(tmp_path):
    assert decode("über".encode("utf-8-sig"), tmp_path) == decode("über".encode(), tmp_path)
    assert f'{tmp_path}:1 is "byte 0xfc"' in problem(decode, "über".encode("latin-1"), tmp_path)
    assert "UTF-16LE" in problem(decode, "a list".encode("utf-16-le"), tmp_path)


def test_where_a_piece_ends_is_part_of_the_hash():
    assert sha256([b"ab", b"c"]) != sha256([b"a", b"bc"])
    assert sha256(iter([b"ab", b"c"])) == sha256([b"ab", b"c"])


def test_repeats_are_counted():
    refuse_repeats("ids", (1, 2, 3), "a.json")
    with pytest.raises(DataError, match=r'the ids of a\.json is "2 more than once, as are 1 other'):
        refuse_repeats("ids", (1, 2, 2, 3, 3), "a.json")


def test_json_may_begin_with_a_byte_order_mark():
    validate = TypeAdapter(list[int]).validate_json
    assert parse_json(validate, codecs.BOM_UTF8 + b"[1]", "a.json", "numbers") == [1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_json_of_another_encoding_is_named(encoding):
    validate = TypeAdapter(list[int]).validate_json
    message = problem(parse_json, validate, "[1, 2]\n".encode(encoding), "a.json", "numbers")
    assert message.startswith('a.json is "UTF-')
    assert "a.json:2" in problem(parse_json, validate, b'[1,\n"\xfc"]', "a.json", "numbers")


def test_a_name_that_no_file_can_have_is_a_missing_file(tmp_path):
    assert "missing 1 of 1" in problem(require_files, [tmp_path / ("x" * 300)], "a.json")


@pytest.mark.parametrize("name", ["a\0.png", "a\n.png", "\x1b[2J.png", "a\x85.png", "\x7f"])
def test_a_name_with_control_characters_is_refused_and_shown_without_them(name):
    message = problem(require_name, name, "the file name of image 7")
    assert message.startswith('the file name of image 7 is "')
    assert message.isprintable()


def test_names_in_any_script_may_have_spaces():
    require_name("año nuevo/개 1.png", "the file name of image 7")


def test_a_place_in_json_is_named_by_the_id_of_its_entry():
    validate = TypeAdapter(dict[str, list[dict[str, int]]]).validate_json
    for entry, said in (
        ('{"id": 17, "area": "x"}', '"the entry of id 17, boxes.1.area: input should be a valid'),
        ('{"area": "x"}', '"boxes.1.area: input'),
        ('{"id": "x"}', '"boxes.1.id: input'),
        ("7", '"boxes.1: input'),
    ):
        content = f'{{"boxes": [{{}}, {entry}]}}'.encode()
        assert said in problem(parse_json, validate, content, "a.json", "boxes")
