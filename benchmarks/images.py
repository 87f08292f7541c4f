"""Digit scenes as image files of realistic sizes: JPEG with boxes, PNG with label maps.

    write_detection(folder, count=32)       images/train/0.jpg, annotations/instances_train.json
    write_segmentation(folder, count=32)    train/0.png, trainannot/0.png, classes.json

Detection images are 1024 x 768, segmentation images 480 x 360.
"""

import json
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from quatrain.tasks.detection.data import digit_boxes
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation.data import DIGIT_CLASSES, digit_masks

_HELD_OUT = 1
_SIDE = 256
_DETECTION_SIZE, _SEGMENTATION_SIZE = (1024, 768), (480, 360)


def write_detection(folder: Path, count: int) -> None:
    """Write a COCO folder of `count` training images and one validation image."""
    corpus = digit_boxes(_scenes(count))
    factors = [side / _SIDE for side in _DETECTION_SIZE] * 2
    names = enumerate(corpus.categories, start=1)
    categories = [{"id": label, "name": name} for label, name in names]
    (folder / "annotations").mkdir(parents=True)
    for part, data in (("train", corpus.train), ("val", corpus.valid)):
        image_folder = folder / "images" / part
        image_folder.mkdir(parents=True)
        boxes: list[dict[str, object]] = []
        for number, truth in enumerate(data.ground_truths):
            _save(data[number].image, _DETECTION_SIZE, image_folder / f"{number}.jpg")
            for xywh, label in zip(truth.xywh * factors, truth.labels, strict=True):
                box = {"id": len(boxes), "image_id": number, "category_id": int(label)}
                boxes.append({**box, "bbox": xywh.tolist(), "area": xywh[2] * xywh[3]})
        width, height = _DETECTION_SIZE
        images = [
            {"id": n, "file_name": f"{n}.jpg", "width": width, "height": height}
            for n in range(len(data))
        ]
        document = {"images": images, "categories": categories, "annotations": boxes}
        path = folder / "annotations" / f"instances_{part}.json"
        path.write_text(json.dumps(document), encoding="utf-8")


def write_segmentation(folder: Path, count: int) -> None:
    """Write folders of `count` training images and label maps, and one of each for validation."""
    corpus = digit_masks(_scenes(count))
    for part, data in (("train", corpus.train), ("val", corpus.valid)):
        image_folder, label_folder = folder / part, folder / f"{part}annot"
        image_folder.mkdir(parents=True)
        label_folder.mkdir(parents=True)
        for number in range(len(data)):
            sample = data[number]
            _save(sample.image, _SEGMENTATION_SIZE, image_folder / f"{number}.png")
            label = Image.fromarray(sample.label.numpy().astype(np.uint8))
            resized = label.resize(_SEGMENTATION_SIZE, Image.Resampling.NEAREST)
            resized.save(label_folder / f"{number}.png")
    entries = [
        {"id": number, "name": entry.name, "color": entry.color}
        for number, entry in enumerate(DIGIT_CLASSES)
    ]
    (folder / "classes.json").write_text(json.dumps({"classes": entries}), encoding="utf-8")


def _scenes(count: int) -> DigitScenesSpec:
    return DigitScenesSpec(size=_SIDE, train=count, valid=_HELD_OUT, test=_HELD_OUT)


def _save(image: Tensor, size: tuple[int, int], path: Path) -> None:
    Image.fromarray(image.permute(1, 2, 0).numpy()).resize(size).save(path)
