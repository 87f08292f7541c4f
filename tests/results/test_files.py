import errno
import os
import secrets
import time

import pytest

from quatrain.results.files import make_folder, remove_temporary_files, write_atomically
from quatrain.specs import StudyError


def test_a_file_is_replaced_and_no_temporary_file_is_left(tmp_path):
    path = tmp_path / "new" / "folder" / "a.json"
    write_atomically(path, "old\n")
    write_atomically(path, "ä\n")
    assert path.read_bytes() == "ä\n".encode()
    assert list(path.parent.iterdir()) == [path]


def test_bytes_and_line_ends_are_written_unchanged(tmp_path):
    write_atomically(tmp_path / "a.png", b"\x89PNG\r\n\x00")
    assert (tmp_path / "a.png").read_bytes() == b"\x89PNG\r\n\x00"
    write_atomically(tmp_path / "a.txt", "one\r\ntwo\n")
    assert (tmp_path / "a.txt").read_bytes() == b"one\r\ntwo\n"


def test_a_full_disk_is_an_error_and_the_old_file_is_kept(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, "old")

    def no_room(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", no_room)
    with pytest.raises(StudyError) as error:
        write_atomically(path, "new")
    assert error.value.field == "run folder"
    assert "No space left on device" in error.value.remedy
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_an_interrupted_write_leaves_no_temporary_file(tmp_path, monkeypatch):
    def interrupt(_: int) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        write_atomically(tmp_path / "a.json", "new")
    assert list(tmp_path.iterdir()) == []


def test_a_file_instead_of_a_folder_is_an_error(tmp_path):
    (tmp_path / "runs").write_text("")
    with pytest.raises(StudyError):
        make_folder(tmp_path / "runs")
    with pytest.raises(StudyError):
        write_atomically(tmp_path / "runs" / "x" / "a.json", "text")


def test_a_link_with_the_name_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    own = tmp_path / "own.txt"
    own.write_text("mine")
    (tmp_path / ".a.json.00c0ffee.tmp").symlink_to(own)
    monkeypatch.setattr(secrets, "token_hex", lambda _: "00c0ffee")
    with pytest.raises(StudyError):
        write_atomically(tmp_path / "a.json", "new")
    assert own.read_text() == "mine"


def test_a_link_with_the_name_of_the_file_is_replaced_and_its_target_is_kept(tmp_path):
    own = tmp_path / "own.txt"
    own.write_text("mine")
    (tmp_path / "a.json").symlink_to(own)
    write_atomically(tmp_path / "a.json", "new")
    assert own.read_text() == "mine"
    assert not (tmp_path / "a.json").is_symlink()


def abandoned(folder, name, age=7200):
    path = folder / name
    path.write_text("half")
    os.utime(path, (time.time() - age,) * 2)
    return path


def test_a_write_removes_old_temporary_files_of_the_same_name(tmp_path):
    old = abandoned(tmp_path, ".a[1].json.0123abcd.tmp")
    others = [
        abandoned(tmp_path, ".a[1].json.4567abcd.tmp", age=60),  # perhaps being written
        abandoned(tmp_path, ".b.json.0123abcd.tmp"),
        abandoned(tmp_path, ".a1.json.0123abcd.tmp"),
        abandoned(tmp_path, ".a[1].json.mine.tmp"),
        abandoned(tmp_path, "a[1].json.0123abcd.tmp"),
    ]
    write_atomically(tmp_path / "a[1].json", "new")
    assert not old.exists()
    assert all(path.exists() for path in others)


def test_the_only_writer_of_a_file_removes_all_its_temporary_files(tmp_path):
    own = abandoned(tmp_path, ".swap.tmp", age=0)
    other = abandoned(tmp_path, ".b.json.0123abcd.tmp", age=0)
    abandoned(tmp_path, ".a.0123abcd.tmp", age=0)
    (tmp_path / ".a.4567abcd.tmp").symlink_to(own)
    remove_temporary_files(tmp_path, "a")
    assert sorted(tmp_path.iterdir()) == [other, own]
    remove_temporary_files(tmp_path / "none", "a")
