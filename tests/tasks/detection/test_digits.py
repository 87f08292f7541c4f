import numpy as np

from quatrain.tasks.detection.digits import digit_boxes
from quatrain.tasks.digit_scenes import DigitScenesSpec


def test_digits_have_labels_from_one_and_tight_boxes():
    spec = DigitScenesSpec(train=10, valid=2, test=2)
    corpus, scenes = digit_boxes(spec), spec.make()
    assert corpus.categories == tuple("0123456789")
    assert corpus.hashes == scenes.hashes
    assert corpus.test_hashes == scenes.test_hashes
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [10, 2, 2]
    for number, scene in enumerate(scenes.train):
        sample, truth = corpus.train[number], corpus.train.ground_truths[number]
        assert sample.labels.tolist() == [digit + 1 for digit in scene.digits.tolist()]
        assert np.array_equal(truth.areas, scene.masks.flatten(1).sum(1).numpy())
        for box, mask in zip(sample.boxes.int().tolist(), scene.masks, strict=True):
            x0, y0, x1, y1 = box
            assert mask[y0:y1, x0:x1].sum() == mask.sum()
            edges = (mask[y0], mask[y1 - 1], mask[:, x0], mask[:, x1 - 1])
            assert all(edge.any() for edge in edges)
