import os

import pytest

from quatrain.results.reading import is_file_within, read_regular, read_text
from quatrain.specs import StoredFileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.json"


def test_a_file_is_read_and_a_missing_one_is_none(path):
    assert read_regular(path, "delete it") is None
    assert read_regular(path / "inside", "delete it") is None
    path.write_bytes(b"{}")
    assert read_regular(path, "delete it") == b"{}"
    assert read_regular(path / "inside", "delete it") is None


def test_a_link_to_a_file_is_read_and_one_to_nothing_is_none(path, tmp_path):
    (tmp_path / "target").write_bytes(b"{}")
    path.symlink_to(tmp_path / "target")
    assert read_regular(path, "delete it") == b"{}"
    (tmp_path / "target").unlink()
    assert read_regular(path, "delete it") is None


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def circle(path):
    path.symlink_to(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [pipe, device, circle, os.mkdir])
def test_anything_but_a_regular_file_is_an_error(make, path):
    make(path)
    with pytest.raises(StoredFileError) as error:
        read_regular(path, "delete it")
    assert (error.value.field, error.value.remedy) == (str(path), "delete it")
    assert not is_file_within(path, path.parent)


def test_a_huge_file_is_an_error(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(StoredFileError) as error:
        read_regular(path, "delete it")
    assert error.value.expected == "at most 32 MiB"
    path.write_bytes(b"12345")
    with pytest.raises(StoredFileError):
        read_regular(path, "delete it", largest=4)


def test_a_file_is_within_a_folder_after_all_links_are_resolved(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "secret"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "own").write_text("own")
    (folder / "alias").symlink_to("own")
    (folder / "leak").symlink_to(outside)
    (folder / "up").symlink_to("..")
    assert [name for name in ("own", "alias") if is_file_within(folder / name, folder)] == [
        "own",
        "alias",
    ]
    for name in ("leak", "up", "up/secret", "absent", "../secret", "a\0b"):
        assert not is_file_within(folder / name, folder)


def test_text_is_read_in_utf_8(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes("ä".encode())
    assert read_text(path, "delete it") == "ä"
    for content in (b"\xff", "ä".encode("latin-1"), "ä".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(StoredFileError) as error:
            read_text(path, "delete it")
        assert error.value.field == str(path)
    with pytest.raises(StoredFileError):
        read_text(tmp_path, "delete it")
    with pytest.raises(StoredFileError) as error:
        read_text(tmp_path / "absent.json", "delete it")
    assert error.value.value == "missing"
