"""How good detections are: the 12 numbers of COCO, and the average precision of each category.

    metric = DetectionMetric(corpus.categories, corpus.test.truths)
    metric.add(image_id, boxes, scores, labels)     once an image, in any order
    metric.merge(found_by_another_process)          images seen twice count once
    metric.scores()

Whoever evaluates in several processes merges what each has `found`, and gets the number that one
process gets: it is computed from all images at once, ordered by their ids.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from jaxtyping import Float, Float64, Int64
from torch import Tensor

from quatrain.specs import DataError, InputError
from quatrain.tasks.detection.corpus import Truth

NUMBERS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""COCO's 12 numbers, in its order."""


class Found(NamedTuple):
    """What was found in one image."""

    boxes: Float64[np.ndarray, "n 4"]
    scores: Float64[np.ndarray, " n"]
    labels: Int64[np.ndarray, " n"]


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
    """

    def __init__(self, categories: Sequence[str], truths: Sequence[Truth]) -> None:
        self.categories = tuple(categories)
        self.truths = {truth.image_id: truth for truth in truths}
        if len(self.truths) != len(truths):
            raise DataError(
                "image ids", len(truths) - len(self.truths), "no id twice", "number the images"
            )
        self.found: dict[int, Found] = {}

    def add(
        self,
        image_id: int,
        boxes: Float[Tensor, "n 4"],
        scores: Float[Tensor, " n"],
        labels: Int64[Tensor, " n"],
    ) -> None:
        """Take the detections of one whole image: none is an answer too.

        Boxes are x0 y0 x1 y1 in pixels of the image as it was read, in any order; COCO counts the
        hundred with the highest scores. An image that was added before stays as it was.

        Raises:
            InputError: if the image is not among the truths, shapes differ, a number is not finite,
                a box ends before it begins or a label is not in 1...C.
        """
        if image_id not in self.truths:
            raise InputError(
                "image_id", image_id, "an image of the truth", "score the part that was predicted"
            )
        found = Found(
            boxes.detach().cpu().double().numpy(),
            scores.detach().cpu().double().numpy(),
            labels.detach().cpu().numpy(),
        )
        _check(found, image_id, len(self.categories))
        self.found.setdefault(image_id, found)

    def merge(self, found: Mapping[int, Found]) -> None:
        """Take what another process found; an image that both have counts once."""
        for image_id, each in found.items():
            self.found.setdefault(image_id, each)

    def results(self) -> list[dict[str, Any]]:
        """What was found, as COCO's format of results has it."""
        return _given(self.found)

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
                f"{len(unseen)} of {len(self.truths)}, the first {unseen[0]}",
                "none",
                "add every image, an empty one too, or merge all processes",
            )
        return _evaluate(self.categories, self.truths, self.found)


def _check(found: Found, image_id: int, categories: int) -> None:
    number = len(found.scores)
    shapes = (found.boxes.shape, found.scores.shape, found.labels.shape)
    if shapes != ((number, 4), (number,), (number,)):
        raise InputError(
            f"the shapes of boxes, scores and labels of image {image_id}",
            ", ".join(map(str, shapes)),
            "(n, 4), (n,), (n,)",
            "give one row a detection",
        )
    if not (np.isfinite(found.boxes).all() and np.isfinite(found.scores).all()):
        raise InputError(
            f"the detections of image {image_id}", "not finite", "finite numbers", "find the cause"
        )
    if (found.boxes[:, 2:] < found.boxes[:, :2]).any():
        raise InputError(
            f"a box of image {image_id}", "ending before it begins", "x0 y0 x1 y1", "reorder it"
        )
    if number and not 1 <= found.labels.min() <= found.labels.max() <= categories:
        raise InputError(
            f"the labels of image {image_id}",
            f"{found.labels.min()} to {found.labels.max()}",
            f"1 to {categories}",
            "leave the background out",
        )


def _evaluate(
    categories: Sequence[str], truths: Mapping[int, Truth], found: Mapping[int, Found]
) -> DetectionScores:
    head: dict[str, Any] = {
        "images": [
            {"id": truth.image_id, "height": truth.height, "width": truth.width}
            for truth in truths.values()
        ],
        "categories": [
            {"id": label, "name": name} for label, name in enumerate(categories, start=1)
        ],
    }
    wanted = COCO({**head, "annotations": _wanted(truths)})
    given = COCO({**head, "annotations": _given(found)})
    evaluation = COCOeval_faster(wanted, given, "bbox")
    evaluation.run()
    numbers = [_percent(value) for value in evaluation.stats]
    # Axes: IoU threshold, recall, category, size, number of detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    each = [_percent(_mean(precision[:, :, place])) for place in range(len(categories))]
    return DetectionScores(
        dict(zip(NUMBERS, numbers, strict=True)),
        dict(zip(categories, each, strict=True)),
        f"COCO bbox|IoU 0.50:0.05:0.95|detections 1, 10, 100|"
        f"faster-coco-eval {version('faster-coco-eval')}",
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
