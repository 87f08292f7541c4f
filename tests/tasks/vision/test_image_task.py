import os
from types import SimpleNamespace

from quatrain.specs import Spec
from quatrain.tasks.vision import read_cached
from quatrain.tasks.vision.image_task import ImageTask
from quatrain.tasks.vision.parts import Corpus


class Lines(Spec):
    name: str = "lines.txt"

    def read(self, folder):
        return [(folder / self.name).read_text()]


def test_data_are_read_again_only_after_a_file_or_the_spec_changed(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("one")
    first = read_cached(Lines(), tmp_path)
    assert first == ["one"]
    assert read_cached(Lines(), tmp_path) is first
    path.write_text("two")
    os.utime(path, ns=(1, 1))
    assert read_cached(Lines(), tmp_path) == ["two"]
    (tmp_path / "more.txt").write_text("three")
    assert read_cached(Lines(name="more.txt"), tmp_path) == ["three"]


def test_hashes_and_data_notes_are_those_of_the_corpus():
    class Task(ImageTask):
        def collate(self, plan):
            raise NotImplementedError

    notes, test_hashes = {"train: boxes without area": 2}, {"test": "c"}
    parts = {"train": (), "valid": (), "test": ()}
    corpus = Corpus(**parts, hashes={"a": "b"}, data_notes=notes, test_hashes=test_hashes)
    task = Task(SimpleNamespace(recipe=None, batch=1), corpus, seed=0)
    assert (task.data_hashes, task.data_notes) == (corpus.hashes, notes)
    assert task.test_hashes == test_hashes
