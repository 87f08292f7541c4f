import os
from pathlib import Path

from quatrain.specs import Spec
from quatrain.tasks.cache import file_stamps, read_cached


class Lines(Spec):
    name: str = "lines.txt"

    def read(self, folder):
        return [(folder / self.name).read_text()]


def test_data_are_read_again_only_after_a_file_or_the_spec_changed(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one")
    first = read_cached(Lines.read, tmp_path, Lines())
    assert first == ["one"]
    assert read_cached(Lines.read, tmp_path, Lines()) is first
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert read_cached(Lines.read, tmp_path, Lines()) == ["two"]
    (tmp_path / "more.txt").write_text("three")
    assert read_cached(Lines.read, tmp_path, Lines(name="more.txt")) == ["three"]


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
