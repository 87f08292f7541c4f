import pickle

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter

from quatrain.specs import DataError
from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.data import DetectionData, digit_boxes, read_detection
from quatrain.tasks.detection.voc import VocSpec
from quatrain.tasks.digit_scenes import DigitScenesSpec


def test_digit_scenes_need_no_folder():
    assert len(read_detection(DigitScenesSpec(train=3, valid=1, test=1), None).train) == 3


def test_files_are_read_from_the_folder(coco_folder):
    assert len(read_detection(CocoSpec(), coco_folder).train) == 2
    with pytest.raises(DataError) as error:
        read_detection(VocSpec(), None)
    assert error.value.field == "--data"


@pytest.mark.parametrize("spec", [CocoSpec(), VocSpec(), DigitScenesSpec()])
def test_json_is_parsed_by_its_kind(spec):
    assert TypeAdapter(DetectionData).validate_json(spec.to_json()) == spec


@pytest.mark.parametrize("spec", [DigitScenesSpec(train=2, valid=1, test=1), CocoSpec()])
def test_parts_can_be_pickled_for_loading_processes(coco_folder, spec):
    part = read_detection(spec, coco_folder).train
    copy = pickle.loads(pickle.dumps(part))
    assert torch.equal(copy[1].image, part[1].image)


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
