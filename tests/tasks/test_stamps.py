import os
from pathlib import Path

from quatrain.tasks.stamps import file_stamps


def test_a_changed_file_at_any_depth_changes_the_stamps(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    (tmp_path / "deep" / "er" / "a.png").write_bytes(b"1")
    first = file_stamps(tmp_path)
    assert [name for name, _, _ in first] == [str(Path("deep", "er", "a.png"))]
    assert file_stamps(tmp_path) == first
    (tmp_path / "deep" / "er" / "a.png").write_bytes(b"12")
    second = file_stamps(tmp_path)
    (tmp_path / "b.png").touch()
    third = file_stamps(tmp_path)
    os.utime(tmp_path / "b.png", (1, 1))
    assert len({first, second, third, file_stamps(tmp_path)}) == 4


def test_missing_folders_and_broken_links_have_no_stamps(tmp_path):
    assert file_stamps(None) == file_stamps(tmp_path / "absent") == ()
    (tmp_path / "nowhere").symlink_to(tmp_path / "absent")
    assert file_stamps(tmp_path) == ()
