import errno
import os

import pytest

from quatrain.results.files import make_folder, write_atomically
from quatrain.specs import StudyError


def test_a_file_is_replaced_whole_and_nothing_else_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    write_atomically(path, "old\n")
    write_atomically(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_bytes_and_line_ends_stay_what_they_are(tmp_path):
    write_atomically(tmp_path / "a.png", b"\x89PNG\r\n\x00")
    assert (tmp_path / "a.png").read_bytes() == b"\x89PNG\r\n\x00"
    write_atomically(tmp_path / "a.txt", "one\r\ntwo\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\r\ntwo\n"


def test_a_full_disk_is_a_clear_error_and_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StudyError, match="No space left on device") as caught:
        write_atomically(path, "new")
    assert caught.value.field == "run folder"
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_a_clear_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StudyError, match="a folder that can be written"):
        make_folder(tmp_path / "runs")
    with pytest.raises(StudyError, match="a folder that can be written"):
        write_atomically(tmp_path / "runs" / "x" / "a.json", "text")
