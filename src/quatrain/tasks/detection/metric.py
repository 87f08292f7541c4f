"""How good detections are: the 12 numbers of COCO, and the average precision of each category.

    metric = DetectionMetric(corpus.categories, corpus.test.truths)
    metric.add(image_id, boxes, scores, labels)     once an image, in any order
    metric.merge(found_by_another_process)          images seen twice count once
    metric.scores()

Whoever evaluates in several processes merges what each has `found`, and gets the number that one
process gets: it is computed from all images at once, ordered by their ids. The evaluator is given
images and annotations numbered from 1, since it keeps ids as float64 and takes 0 for "no match".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Num
from torch import Tensor

from quatrain.specs import DataError, InputError
from quatrain.tasks.detection.corpus import Truth
from quatrain.tasks.detection.found import Found, check_labels, checked, image_index
from quatrain.tasks.vision import listed_uniquely

NUMBERS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""COCO's 12 numbers, in its order."""


@dataclass(frozen=True)
class DetectionScores:
    """All in percent; nan where there was no such object to find.

    `numbers` are COCO's 12 by name, `categories` the AP of each category, from IoU 0.50 to 0.95.
    """

    numbers: dict[str, float]
    categories: dict[str, float]
    signature: str

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that there are, for a record."""
        return {name: value for name, value in self.numbers.items() if not np.isnan(value)}

    @property
    def category_metrics(self) -> dict[str, float]:
        """The AP of each category that there is, as "ap_of_fish", for a record."""
        return {
            f"ap_of_{name}": value for name, value in self.categories.items() if not np.isnan(value)
        }


class DetectionMetric:
    """Gathers detections by image and scores them against the truth.

    Args:
        categories: Names of the labels 1...C.
        truths: All images that are to be scored.

    Raises:
        DataError: if two truths are of one image.
        InputError: if an image id is no integer, or a label of a truth is not one of 1...C.
    """

    def __init__(self, categories: Sequence[str], truths: Sequence[Truth]) -> None:
        self.categories = tuple(categories)
        for truth in truths:
            check_labels(truth.labels, truth.name, len(self.categories))
        self.truths = {image_index(truth.image_id): truth for truth in truths}
        if len(self.truths) != len(truths):
            raise DataError(
                "image ids", len(truths) - len(self.truths), "no id twice", "number the images"
            )
        self.found: dict[int, Found] = {}

    def add(
        self,
        image_id: int,
        boxes: Num[Tensor, "n 4"],
        scores: Num[Tensor, " n"],
        labels: Num[Tensor, " n"],
    ) -> None:
        """Take the detections of one whole image: none is an answer too.

        Boxes are x0 y0 x1 y1 in pixels of the image as it was read, in any order; COCO counts the
        hundred with the highest scores. An image that was added before stays as it was. Numbers of
        any integer or floating type are converted to float64, labels to int64.

        Raises:
            InputError: if the image is not among the truths, shapes differ, a number is not finite
                or not real, a box ends before it begins or a label is not one of 1...C.
        """
        self.merge({image_id: Found(_array(boxes), _array(scores), _array(labels))})

    def merge(self, found: Mapping[int, Found]) -> None:
        """Take what another process found; an image that both have counts once.

        Raises:
            InputError: as `add` does.
        """
        for image_id, each in found.items():
            index = image_index(image_id)
            if index not in self.truths:
                remedy = "score the part that was predicted"
                raise InputError("image_id", image_id, "an image of the truth", remedy)
            name = f"image {index} ({self.truths[index].name})"
            self.found.setdefault(index, checked(each, name, len(self.categories)))

    def results(self, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """What was found, as COCO's format of results has it.

        Args:
            category_ids: The ids of the labels 1...C in the annotation file, which other programs
                score against; by default the labels themselves.
        """
        ids = category_ids or range(1, len(self.categories) + 1)
        return [{**row, "category_id": ids[row["category_id"] - 1]} for row in _given(self.found)]

    def scores(self) -> DetectionScores:
        """The 12 numbers and the AP of each category.

        Source: Lin et al. 2014, Microsoft COCO, https://arxiv.org/abs/1405.0312, as defined by
        pycocotools, https://github.com/cocodataset/cocoapi.
        Differs: annotations are numbered from 1, since pycocotools takes a match with the
        annotation of id 0 for none; a number without any object to find is nan, not -1.

        Raises:
            InputError: if an image has not been predicted.
        """
        unseen = sorted(self.truths.keys() - self.found.keys())
        if unseen:
            raise InputError(
                "images without detections added",
                f"{len(unseen)} of {len(self.truths)}, the first {unseen[0]} "
                f"({self.truths[unseen[0]].name})",
                "none",
                "add every image, an empty one too, or merge all processes",
            )
        return _evaluate(self.categories, self.truths, self.found)


def _array(values: Tensor) -> np.ndarray:
    """The values in numpy's type of that name; bfloat16, which it lacks, as float64."""
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()


def _evaluate(
    categories: Sequence[str], truths: Mapping[int, Truth], found: Mapping[int, Found]
) -> DetectionScores:
    numbers = {image_id: number for number, image_id in enumerate(sorted(truths), start=1)}
    truths = {numbers[image_id]: truth for image_id, truth in truths.items()}
    found = {numbers[image_id]: each for image_id, each in found.items()}
    head: dict[str, Any] = {
        "images": [
            {"id": number, "height": truth.height, "width": truth.width}
            for number, truth in truths.items()
        ],
        "categories": [
            {"id": label, "name": name} for label, name in enumerate(categories, start=1)
        ],
    }
    wanted = COCO({**head, "annotations": _wanted(truths)})
    given = COCO({**head, "annotations": _given(found)})
    evaluation = COCOeval_faster(wanted, given, "bbox")
    evaluation.run()
    summary = [_percent(value) for value in evaluation.stats]
    # Axes: IoU threshold, recall, category, size, number of detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    each = [_percent(_mean(precision[:, :, place])) for place in range(len(categories))]
    names = dict(zip(categories, each, strict=True))
    absent = [name for name, value in names.items() if np.isnan(value)]
    return DetectionScores(
        dict(zip(NUMBERS, summary, strict=True)),
        names,
        f"COCO bbox|IoU 0.50:0.05:0.95|detections 1, 10, 100|"
        f"faster-coco-eval {version('faster-coco-eval')}"
        + (f"|mean over {len(each) - len(absent)} of {len(each)} categories" if absent else "")
        + (f", no boxes of: {listed_uniquely(absent)}" if absent else ""),
    )


def _wanted(truths: Mapping[int, Truth]) -> list[dict[str, Any]]:
    rows = [
        (image_id, truth, place)
        for image_id, truth in sorted(truths.items())
        for place in range(len(truth.labels))
    ]
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": int(truth.labels[place]),
            "bbox": truth.xywh[place].tolist(),
            "area": float(truth.areas[place]),
            "iscrowd": int(truth.crowd[place]),
        }
        for number, (image_id, truth, place) in enumerate(rows, start=1)
    ]


def _given(found: Mapping[int, Found]) -> list[dict[str, Any]]:
    annotations: list[dict[str, Any]] = []
    for image_id, each in sorted(found.items()):
        starts, sides = each.boxes[:, :2], each.boxes[:, 2:] - each.boxes[:, :2]
        rows = zip(
            np.concatenate([starts, sides], axis=1).tolist(),
            sides.prod(axis=1).tolist(),
            each.scores.tolist(),
            each.labels.tolist(),
            strict=True,
        )
        annotations += [
            {
                "image_id": image_id,
                "category_id": label,
                "bbox": box,
                "area": area,
                "score": score,
                "iscrowd": 0,
            }
            for box, area, score, label in rows
        ]
    for number, annotation in enumerate(annotations, start=1):
        annotation["id"] = number
    return annotations


def _mean(values: np.ndarray) -> float:
    there = values[values > -1]
    return float(there.mean()) if there.size else -1.0


def _percent(value: float) -> float:
    return float("nan") if value < 0 else 100 * float(value)
