import pickle

import pytest
import torch
from pydantic import TypeAdapter

from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation.cityscapes import CityscapesSpec
from quatrain.tasks.segmentation.data import (
    DIGIT_CLASSES,
    SegmentationData,
    digit_masks,
    read_segmentation,
)
from quatrain.tasks.segmentation.folders import FoldersSpec
from quatrain.tasks.vision import ImageSize

pytestmark = pytest.mark.filterwarnings("ignore::quatrain.tasks.vision.DataWarning")


def test_each_kind_is_read(camvid_folder):
    assert len(read_segmentation(DigitScenesSpec(train=3, valid=1, test=1), None).train) == 3
    part = read_segmentation(FoldersSpec(), camvid_folder).train
    assert len(part) == 2
    assert part.sizes == 2 * (ImageSize(4, 6),)


@pytest.mark.parametrize("spec", [CityscapesSpec(), FoldersSpec(), DigitScenesSpec()])
def test_json_is_parsed_by_its_kind(spec):
    assert TypeAdapter(SegmentationData).validate_json(spec.to_json()) == spec


@pytest.mark.parametrize("spec", [DigitScenesSpec(train=2, valid=1, test=1), FoldersSpec()])
def test_parts_can_be_pickled_for_loading_processes(camvid_folder, spec):
    part = read_segmentation(spec, camvid_folder).train
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy[1].image, part[1].image)


def test_each_visible_pixel_has_the_class_of_its_digit():
    spec = DigitScenesSpec(train=6, valid=2, test=2)
    corpus, scenes = digit_masks(spec), spec.make()
    assert [len(corpus.train), len(corpus.valid), len(corpus.test)] == [6, 2, 2]
    assert corpus.train.sizes == 6 * (ImageSize(96, 96),)
    for sample, scene in zip(corpus.train, scenes.train, strict=True):
        expected = torch.zeros(96, 96, dtype=torch.long)
        for mask, digit in zip(scene.masks, scene.digits, strict=True):
            expected[mask] = digit + 1
        assert torch.equal(sample.label, expected)
        assert torch.equal(sample.image, scene.image)


def test_the_eleven_classes_have_different_colours():
    assert [entry.name for entry in DIGIT_CLASSES] == ["background", *"0123456789"]
    assert len({entry.color for entry in DIGIT_CLASSES}) == 11
