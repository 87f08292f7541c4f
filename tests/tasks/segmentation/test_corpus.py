import operator

import pytest
import torch

from quatrain.specs import DataError
from quatrain.tasks.segmentation.corpus import SegmentationPart
from quatrain.tasks.vision import ImageSize


def part(width=6):
    image = torch.zeros(3, 4, width, dtype=torch.uint8)
    label = torch.zeros(4, 6, dtype=torch.long)
    return SegmentationPart(["a.png"], lambda _: (image, label), [ImageSize(4, 6)])


def test_a_part_is_as_long_as_its_names():
    assert [sample.image_id for sample in part()] == [0]
    assert len(part()) == 1
    for index in (1, -1):
        with pytest.raises(IndexError):
            operator.getitem(part(), index)


def test_an_image_of_changed_size_is_refused():
    with pytest.raises(DataError) as error:
        operator.getitem(part(width=7), 0)
    assert error.value.field == "a.png"
    assert "is 7 x 4 pixels now and its annotation 6 x 4" in str(error.value)
