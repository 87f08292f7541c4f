"""A folder of three tiny parts in COCO's layout, and a fixture that changes it."""

import json

import numpy as np
import pytest
from PIL import Image

CATEGORIES = [{"id": 18, "name": "dog"}, {"id": 3, "name": "car"}]


def coco_document(first):
    """Two images of 30 x 20 with a box each, and a crowd in the first."""

    def box(number, image, category, xywh, **more):
        return {
            "id": number,
            "image_id": image,
            "category_id": category,
            "bbox": xywh,
            "area": 50.5,
            "iscrowd": 0,
        } | more

    return {
        "images": [
            {"id": first + n, "file_name": f"{n}.png", "width": 30, "height": 20} for n in (0, 1)
        ],
        "categories": CATEGORIES,
        "annotations": [
            box(1, first, 18, [2.25, 3, 10, 8]),
            box(2, first + 1, 3, [0, 0, 30, 20]),
            box(3, first, 3, [20, 10, 10, 10], iscrowd=1),
        ],
    }


@pytest.fixture
def coco_folder(tmp_path):
    (tmp_path / "annotations").mkdir()
    random = np.random.default_rng(0)
    for number, part in enumerate(("train", "val", "test")):
        (tmp_path / "images" / part).mkdir(parents=True)
        for image in (0, 1):
            pixels = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / part / f"{image}.png")
        document = coco_document(10 * number + 7)
        path = tmp_path / "annotations" / f"instances_{part}.json"
        path.write_text(json.dumps(document))
    return tmp_path


@pytest.fixture
def modify(coco_folder):
    """Change the json of one part by a function of the document."""

    def modified(part, change):
        path = coco_folder / "annotations" / f"instances_{part}.json"
        document = json.loads(path.read_text())
        result = change(document)
        path.write_text(json.dumps(document if result is None else result))
        return coco_folder

    return modified
