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


def refusal(function, *arguments):
    with pytest.raises(DataError) as error:
        function(*arguments)
    return error.value


def test_the_data_folder_must_be_given_and_exist(tmp_path):
    assert data_folder(tmp_path, "images") == tmp_path
    assert refusal(data_folder, None, "images").field == "--data"
    assert refusal(data_folder, tmp_path / "nowhere", "images").value == str(tmp_path / "nowhere")


def test_missing_files_are_counted(tmp_path):
    (tmp_path / "1.jpg").touch()
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    error = refusal(require_files, paths, "train.json")
    assert "train.json" in error.field
    assert error.value == f"missing 2 of 3, the first {paths[0]}"


def test_text_is_utf_8_with_or_without_a_byte_order_mark(tmp_path):
    assert decode("über".encode("utf-8-sig"), tmp_path) == decode("über".encode(), tmp_path)
    assert refusal(decode, "über".encode("latin-1"), tmp_path).value == "byte 0xfc"
    assert refusal(decode, "a list".encode("utf-16-le"), tmp_path).value == "UTF-16LE"


def test_the_hash_depends_on_the_boundaries_of_the_pieces():
    assert sha256([b"ab", b"c"]) != sha256([b"a", b"bc"])
    assert sha256(iter([b"ab", b"c"])) == sha256([b"ab", b"c"])


def test_repeated_values_are_refused():
    refuse_repeats("ids", (1, 2, 3), "a.json")
    error = refusal(refuse_repeats, "ids", (1, 2, 2, 3, 3), "a.json")
    assert error.field == "the ids of a.json"
    assert error.value == "2 more than once, as are 1 others"


def test_json_may_begin_with_a_byte_order_mark():
    validate = TypeAdapter(list[int]).validate_json
    assert parse_json(validate, codecs.BOM_UTF8 + b"[1]", "a.json", "numbers") == [1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_json_of_another_encoding_is_named(encoding):
    validate = TypeAdapter(list[int]).validate_json
    error = refusal(parse_json, validate, "[1, 2]\n".encode(encoding), "a.json", "numbers")
    assert error.value.startswith("UTF-")
    error = refusal(parse_json, validate, b'[1,\n"\xfc"]', "a.json", "numbers")
    assert error.field == "a.json:2"


def test_a_name_that_is_too_long_is_a_missing_file(tmp_path):
    assert "missing 1 of 1" in refusal(require_files, [tmp_path / ("x" * 300)], "a.json").value


@pytest.mark.parametrize("name", ["a\0.png", "a\n.png", "\x1b[2J.png", "a\x85.png", "\x7f"])
def test_a_name_with_control_characters_is_refused_and_escaped(name):
    error = refusal(require_name, name, "the file name of image 7")
    assert error.field == "the file name of image 7"
    assert str(error).isprintable()


def test_names_may_have_spaces_and_any_script():
    require_name("año nuevo/개 1.png", "the file name of image 7")


def test_an_error_in_json_names_the_id_of_its_entry():
    validate = TypeAdapter(dict[str, list[dict[str, int]]]).validate_json
    for entry, place in (
        ('{"id": 17, "area": "x"}', "the entry of id 17, boxes.1.area: "),
        ('{"area": "x"}', "boxes.1.area: "),
        ('{"id": "x"}', "boxes.1.id: "),
        ("7", "boxes.1: "),
    ):
        content = f'{{"boxes": [{{}}, {entry}]}}'.encode()
        error = refusal(parse_json, validate, content, "a.json", "boxes")
        assert error.value.startswith(place)
