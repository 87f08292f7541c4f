import codecs

import pytest
from pydantic import TypeAdapter

from quatrain.specs import DataError
from quatrain.tasks.vision.files import check_files, check_name, check_unique, parse_json, sha256


def refusal(function, *arguments):
    with pytest.raises(DataError) as error:
        function(*arguments)
    return error.value


def test_missing_files_are_counted(tmp_path):
    (tmp_path / "1.jpg").touch()
    paths = [tmp_path / f"{number}.jpg" for number in range(3)]
    error = refusal(check_files, paths, "train.json")
    assert error.field == "train.json"
    assert "2 of 3 files" in str(error)
    assert f"the first {paths[0]}" in str(error)


def test_the_hash_depends_on_the_boundaries_of_the_pieces():
    assert sha256([b"ab", b"c"]) != sha256([b"a", b"bc"])
    assert sha256(iter([b"ab", b"c"])) == sha256([b"ab", b"c"])


def test_repeated_values_are_refused():
    check_unique("ids", (1, 2, 3), "a.json")
    error = refusal(check_unique, "ids", (1, 2, 2, 3, 3), "a.json")
    assert error.field == "a.json"
    assert "2 is more than once among the ids of a.json, as are 1 others" in str(error)


def test_json_may_begin_with_a_byte_order_mark():
    validate = TypeAdapter(list[int]).validate_json
    assert parse_json(validate, codecs.BOM_UTF8 + b"[1]", "a.json", "numbers") == [1]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-32-be"])
def test_json_of_another_encoding_is_named(encoding):
    validate = TypeAdapter(list[int]).validate_json
    error = refusal(parse_json, validate, "[1, 2]\n".encode(encoding), "a.json", "numbers")
    assert "a.json is in UTF-" in str(error)
    error = refusal(parse_json, validate, b'[1,\n"\xfc"]', "a.json", "numbers")
    assert error.field == "a.json:2"


def test_a_name_that_is_too_long_is_a_missing_file(tmp_path):
    assert "1 of 1 files" in str(refusal(check_files, [tmp_path / ("x" * 300)], "a.json"))


@pytest.mark.parametrize("name", ["a\0.png", "a\n.png", "\x1b[2J.png", "a\x85.png", "\x7f"])
def test_a_name_with_control_characters_is_refused_and_escaped(name):
    error = refusal(check_name, name, "the file name of image 7")
    assert error.field == "the file name of image 7"
    assert str(error).isprintable()


def test_names_may_have_spaces_and_any_script():
    check_name("año nuevo/개 1.png", "the file name of image 7")


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
        assert f"({place}" in str(error)
