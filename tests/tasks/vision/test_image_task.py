from types import SimpleNamespace

from quatrain.tasks.vision.image_task import ImageTask
from quatrain.tasks.vision.parts import Corpus


def test_hashes_and_data_notes_are_those_of_the_corpus():
    notes, test_hashes = {"train: boxes without area": 2}, {"test": "c"}
    parts = {"train": (), "valid": (), "test": ()}
    corpus = Corpus(**parts, hashes={"a": "b"}, data_notes=notes, test_hashes=test_hashes)
    task = ImageTask(SimpleNamespace(recipe=None, batch=1), corpus, seed=0)
    assert (task.data_hashes, task.data_notes) == (corpus.hashes, notes)
    assert task.test_hashes == test_hashes
