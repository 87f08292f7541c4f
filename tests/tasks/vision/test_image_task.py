from types import SimpleNamespace

from quatrain.tasks.vision.image_task import ImageTask, small_recipe
from quatrain.tasks.vision.parts import DatasetParts


def test_hashes_and_data_notes_are_those_of_the_corpus():
    notes, test_hashes = {"train: boxes without area": 2}, {"test": "c"}
    parts = {"train": (), "valid": (), "test": ()}
    corpus = DatasetParts(**parts, hashes={"a": "b"}, data_notes=notes, test_hashes=test_hashes)
    task = ImageTask(SimpleNamespace(recipe=None, batch=1, augmentation=None), corpus, seed=0)
    assert (task.data_hashes, task.data_notes) == (corpus.hashes, notes)
    assert task.test_hashes == test_hashes


def test_the_warmup_is_a_tenth_up_to_the_limit():
    short, long = (small_recipe(steps, longest_warmup=100, monitor_every=7) for steps in (50, 6000))
    assert (short.warmup_steps, long.warmup_steps, long.monitor_every) == (5, 100, 7)
    assert long.rate(100) == 1e-3
    assert long.rate(6000) < 1e-6


def test_the_learning_rate_is_that_at_the_end_of_the_warmup():
    recipe = small_recipe(50, longest_warmup=100, monitor_every=0, learning_rate=3e-3)
    assert recipe.rate(5) == 3e-3
