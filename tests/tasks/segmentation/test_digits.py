import torch

from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation.digits import DIGIT_CLASSES, digit_masks


def test_each_visible_pixel_has_the_class_of_its_digit():
    spec = DigitScenesSpec(train=6, valid=2, test=2)
    corpus, scenes = digit_masks(spec), spec.make()
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [6, 2, 2]
    for sample, scene in zip(corpus.train, scenes.train, strict=True):
        expected = torch.zeros(96, 96, dtype=torch.long)
        for mask, digit in zip(scene.masks, scene.digits, strict=True):
            expected[mask] = digit + 1
        assert torch.equal(sample.label, expected)
        assert torch.equal(sample.image, scene.image)


def test_the_eleven_classes_have_different_colours():
    assert [entry.name for entry in DIGIT_CLASSES] == ["background", *"0123456789"]
    assert len({entry.color for entry in DIGIT_CLASSES}) == 11
