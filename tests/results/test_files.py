import errno
import os
import secrets
import time

import pytest

from quatrain.results.files import (
    is_file_within,
    make_folder,
    read_regular,
    read_text,
    remove_temporary_files,
    write_atomically,
)
from quatrain.specs import StoredFileError, StudyError


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
    assert "No space left on device" in str(error.value)
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


def test_a_folder_that_another_process_removes_meanwhile_is_made(tmp_path, monkeypatch):
    folder, mkdir, calls = tmp_path / "attempts", os.mkdir, []

    def existed_a_moment_ago(path, *arguments, **named):
        calls.append(path)
        if len(calls) == 1:
            raise FileExistsError(errno.EEXIST, "File exists", path)
        mkdir(path, *arguments, **named)

    monkeypatch.setattr(os, "mkdir", existed_a_moment_ago)
    make_folder(folder)
    assert folder.is_dir()
    assert len(calls) == 2


def test_a_link_with_the_name_of_the_temporary_file_is_not_followed(tmp_path, monkeypatch):
    target = tmp_path / "target.txt"
    target.write_text("mine")
    (tmp_path / ".a.json.00c0ffee.tmp").symlink_to(target)
    monkeypatch.setattr(secrets, "token_hex", lambda _: "00c0ffee")
    with pytest.raises(StudyError):
        write_atomically(tmp_path / "a.json", "new")
    assert target.read_text() == "mine"


def test_a_link_with_the_name_of_the_file_is_replaced_and_its_target_is_kept(tmp_path):
    target = tmp_path / "target.txt"
    target.write_text("mine")
    (tmp_path / "a.json").symlink_to(target)
    write_atomically(tmp_path / "a.json", "new")
    assert target.read_text() == "mine"
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
    target = abandoned(tmp_path, ".swap.tmp", age=0)
    other = abandoned(tmp_path, ".b.json.0123abcd.tmp", age=0)
    abandoned(tmp_path, ".a.0123abcd.tmp", age=0)
    (tmp_path / ".a.4567abcd.tmp").symlink_to(target)
    remove_temporary_files(tmp_path, "a")
    assert sorted(tmp_path.iterdir()) == [other, target]
    remove_temporary_files(tmp_path / "none", "a")


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
    assert error.value.field == str(path)
    assert str(error.value).endswith("delete it")
    assert not is_file_within(path, path.parent)


def test_a_huge_file_is_an_error(path):
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(StoredFileError) as error:
        read_regular(path, "delete it")
    assert "more than 32 MiB" in str(error.value)
    path.write_bytes(b"12345")
    with pytest.raises(StoredFileError):
        read_regular(path, "delete it", largest=4)


def test_a_file_is_within_a_folder_after_all_links_are_resolved(tmp_path):
    folder, outside = tmp_path / "run", tmp_path / "secret"
    folder.mkdir()
    outside.write_text("secret")
    (folder / "target").write_text("target")
    (folder / "alias").symlink_to("target")
    (folder / "leak").symlink_to(outside)
    (folder / "up").symlink_to("..")
    assert [name for name in ("target", "alias") if is_file_within(folder / name, folder)] == [
        "target",
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
    assert "missing" in str(error.value)
