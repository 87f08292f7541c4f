import numpy as np
from PIL import Image

from quatrain.tasks.detection.assemble import Annotations, ImageEntry, assemble
from quatrain.tasks.detection.boxes import Box
from quatrain.tasks.vision import ImageSize


def test_boxes_are_assigned_to_their_images_in_the_order_of_the_file(tmp_path):
    images = []
    for number in (5, 2, 9):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((10, 10), number, np.uint8)).save(path)
        images.append(ImageEntry(number, path, ImageSize(10, 10), "part.json"))
    image_ids = (9, 5, 9, 2, 5)
    boxes = [Box(i, (n, n, 1, 1), n + 1, False, 1.0, f"box {n}") for n, i in enumerate(image_ids)]
    annotations = Annotations("a list", {"list": "ab"}, images, boxes, tuple("abcde"))
    checked = assemble(annotations, "train", training=True, keep_empty=False)
    assert list(checked.hashes) == ["list", "images of a list"]
    part = checked.part
    assert [sample.image_id for sample in part] == [5, 2, 9]
    assert [sample.labels.tolist() for sample in part] == [[2, 5], [4], [1, 3]]
    assert [int(sample.image[0, 0, 0]) for sample in part] == [5, 2, 9]
