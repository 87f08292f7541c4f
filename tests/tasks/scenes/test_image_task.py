import os
from types import SimpleNamespace

import pytest

from quatrain.specs import Spec
from quatrain.tasks.scenes import DigitScenesSpec, read_once
from quatrain.tasks.scenes.image_task import ImageTask


class Lines(Spec):
    name: str = "lines.txt"


def test_data_are_read_again_only_when_they_changed_or_others_are_asked_for(tmp_path):
    calls = []

    def read(data, folder):
        calls.append(data)
        return (folder / data.name).read_text()

    path = tmp_path / "lines.txt"
    path.write_text("one")
    assert [read_once(read, Lines(), tmp_path) for _ in range(2)] == ["one"] * 2
    assert len(calls) == 1
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert read_once(read, Lines(), tmp_path) == "two"
    (tmp_path / "more.txt").write_text("three")
    assert read_once(read, Lines(name="more.txt"), tmp_path) == "three"


@pytest.mark.parametrize("folder", ["somewhere", None])
def test_digit_scenes_need_no_folder(folder, tmp_path):
    given = folder and tmp_path / folder
    assert read_once(lambda _, where: where, DigitScenesSpec(train=3), given) is None


def test_what_was_left_out_of_the_images_is_told_as_the_task_s_own():
    class Task(ImageTask):
        def collate(self, plan):
            raise NotImplementedError

    kept = {"train: boxes without area": 2}
    tested = {"test": "c"}
    corpus = SimpleNamespace(train=(), hashes={"a": "b"}, skipped=kept, test_hashes=tested)
    task = Task(SimpleNamespace(recipe=None, batch=1), corpus, seed=0)
    assert (task.data_hashes, task.data_notes) == (corpus.hashes, kept)
    assert task.test_hashes == tested
