import os

import pytest

from quatrain.results.reading import is_file_within, read_regular, read_text
from quatrain.specs import StoredFileError


@pytest.fixture
def path(tmp_path):
    return tmp_path / "record.json"


def test_a_file_is_read_and_an_absent_one_is_none(path):
    assert read_regular(path, "delete it") is None
    assert read_regular(path / "inside", "delete it") is None
    path.write_bytes(b"{}")
    assert read_regular(path, "delete it") == b"{}"
    assert read_regular(path / "inside", "delete it") is None


def test_a_link_to_a_file_is_read_and_one_to_nothing_is_none(path, tmp_path):
    (tmp_path / "kept").write_bytes(b"{}")
    path.symlink_to(tmp_path / "kept")
    assert read_regular(path, "delete it") == b"{}"
    (tmp_path / "kept").unlink()
    assert read_regular(path, "delete it") is None


def pipe(path):
    os.mkfifo(path)


def device(path):
    path.symlink_to("/dev/zero")


def circle(path):
    path.symlink_to(path)


@pytest.mark.timeout(20)
@pytest.mark.parametrize("make", [pipe, device, circle, os.mkdir])
def test_what_is_no_file_is_refused_instead_of_waited_for(make, path):
    make(path)
    with pytest.raises(StoredFileError, match=r"record\.json is .*, expected a file.*: delete it"):
        read_regular(path, "delete it")
    assert not is_file_within(path, path.parent)


def test_a_file_that_nobody_can_read_whole_is_refused_by_its_size(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # takes no room on the disk
    with pytest.raises(StoredFileError, match=r"1,099,511,627,776 bytes long.* at most 32 MiB"):
        read_regular(path, "delete it")
    path.write_bytes(b"12345")
    with pytest.raises(StoredFileError, match="5 bytes long"):
        read_regular(path, "delete it", largest=4)


def test_a_file_within_a_folder_is_one_after_all_links(tmp_path):
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


def test_text_is_read_in_utf_8_or_refused_in_a_sentence(tmp_path):
    path = tmp_path / "a.json"
    path.write_bytes("ä".encode())
    assert read_text(path, "delete it") == "ä"
    for content in (b"\xff", "ä".encode("latin-1"), "ä".encode("utf-16")):
        path.write_bytes(content)
        with pytest.raises(StoredFileError, match="expected a text file in UTF-8: delete it") as e:
            read_text(path, "delete it")
        assert str(path) in str(e.value)
    with pytest.raises(StoredFileError):
        read_text(tmp_path, "delete it")
    with pytest.raises(StoredFileError, match='is "missing"'):
        read_text(tmp_path / "absent.json", "delete it")
