import pickle

import pytest
import torch
from pydantic import TypeAdapter

from quatrain.specs import DataError
from quatrain.tasks.detection.coco import CocoSpec
from quatrain.tasks.detection.data import DetectionData, read_detection
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
