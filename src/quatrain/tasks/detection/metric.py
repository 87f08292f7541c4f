"""COCO's 12 detection metrics, and the average precision of each category.

    metric = DetectionMetric(corpus.categories, corpus.test.ground_truths)
    metric.add(image_id, boxes, scores, labels)      # once for each image, in any order
    metric.merge(detections_of_another_process)      # an image of both counts once
    metric.scores()

Metrics are computed from the merged detections, ordered by image id, so they do not depend on the
number of processes. The evaluator gets images and annotations numbered from 1, because it stores
ids as float64 and takes the id 0 for "no match".
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
from quatrain.tasks.detection.corpus import GroundTruth
from quatrain.tasks.detection.detections import (
    Detections,
    check_detections,
    check_labels,
    image_index,
)
from quatrain.tasks.vision import format_names

COCO_METRICS = (
    "ap", "ap50", "ap75", "ap_small", "ap_medium", "ap_large",
    "ar1", "ar10", "ar100", "ar_small", "ar_medium", "ar_large",
)  # fmt: skip
"""Names of COCO's 12 metrics, in its order."""


@dataclass(frozen=True)
class DetectionScores:
    """Metrics in percent; nan for a category or size without objects.

    `numbers` are COCO's 12 metrics by name, `categories` the AP of each category at IoU 0.50 to
    0.95.
    """

    numbers: dict[str, float]
    categories: dict[str, float]
    signature: str

    @property
    def metrics(self) -> dict[str, float]:
        """The 12 metrics without nan, for a record."""
        return {name: value for name, value in self.numbers.items() if not np.isnan(value)}

    @property
    def category_metrics(self) -> dict[str, float]:
        """The AP of each category without nan, named as in "ap_of_fish", for a record."""
        return {
            f"ap_of_{name}": value for name, value in self.categories.items() if not np.isnan(value)
        }


class DetectionMetric:
    """Collects detections by image and scores them against the ground truth.

    Args:
        categories: Names of the labels 1...C.
        ground_truths: The annotations of all images to score.

    Raises:
        DataError: if an image id occurs twice.
        InputError: if an image id is no integer, or a ground-truth label is not one of 1...C.
    """

    def __init__(self, categories: Sequence[str], ground_truths: Sequence[GroundTruth]) -> None:
        self.categories: tuple[str, ...] = tuple(categories)
        for truth in ground_truths:
            check_labels(truth.labels, truth.name, len(self.categories))
        self.ground_truths: dict[int, GroundTruth] = {
            image_index(truth.image_id): truth for truth in ground_truths
        }
        if len(self.ground_truths) != len(ground_truths):
            repeated = len(ground_truths) - len(self.ground_truths)
            message = f"{repeated} image ids occur more than once; number the images"
            raise DataError(message, "ground_truths")
        self.detections: dict[int, Detections] = {}

    def add(
        self,
        image_id: int,
        boxes: Num[Tensor, "n 4"],
        scores: Num[Tensor, " n"],
        labels: Num[Tensor, " n"],
    ) -> None:
        """Add the detections of one image, which may be none.

        Boxes are x0 y0 x1 y1 in pixels of the original image, in any order; COCO counts the hundred
        with the highest scores. A second call for an image has no effect. Numbers of any integer or
        floating type are converted to float64, labels to int64.

        Raises:
            InputError: if the image has no ground truth, shapes differ, a number is not finite or
                not real, a box ends before it begins or a label is not one of 1...C.
        """
        self.merge({image_id: Detections(_array(boxes), _array(scores), _array(labels))})

    def merge(self, detections: Mapping[int, Detections]) -> None:
        """Add the detections of another process, checked as by `add`; an image counts once."""
        for image_id, image_detections in detections.items():
            index = image_index(image_id)
            if index not in self.ground_truths:
                message = f"image_id={index} has no ground truth; use those of the same part"
                raise InputError(message, "image_id")
            name = f"image {index} ({self.ground_truths[index].name})"
            checked = check_detections(image_detections, name, len(self.categories))
            self.detections.setdefault(index, checked)

    def results(self, category_ids: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """The detections in COCO's format of results.

        Args:
            category_ids: The ids of the labels 1...C in the annotation file, for other programs;
                by default the labels themselves.
        """
        ids = category_ids or range(1, len(self.categories) + 1)
        rows = _detection_rows(self.detections)
        return [{**row, "category_id": ids[row["category_id"] - 1]} for row in rows]

    def scores(self) -> DetectionScores:
        """The 12 metrics and the AP of each category.

        Source: Lin et al. 2014, Microsoft COCO, https://arxiv.org/abs/1405.0312, as defined by
        pycocotools, https://github.com/cocodataset/cocoapi.
        Differs: annotations are numbered from 1, since pycocotools takes a match with the
        annotation of id 0 for none; a metric without any object is nan, not -1.

        Raises:
            InputError: if an image has no detections added.
        """
        missing = sorted(self.ground_truths.keys() - self.detections.keys())
        if missing:
            first = f"{missing[0]} ({self.ground_truths[missing[0]].name})"
            problem = f"{len(missing)} of {len(self.ground_truths)} images have no detections added"
            remedy = "add every image, also one without detections, and merge all processes"
            raise InputError(f"{problem}, the first {first}; {remedy}", "detections")
        return _evaluate(self.categories, self.ground_truths, self.detections)


def _array(values: Tensor) -> np.ndarray:
    """The values as numpy's type of the same name; bfloat16, which numpy lacks, as float64."""
    values = values.detach().cpu()
    return (values.double() if values.is_floating_point() else values).numpy()


def _evaluate(
    categories: Sequence[str],
    ground_truths: Mapping[int, GroundTruth],
    detections: Mapping[int, Detections],
) -> DetectionScores:
    numbers = {image_id: number for number, image_id in enumerate(sorted(ground_truths), start=1)}
    ground_truths = {numbers[image_id]: truth for image_id, truth in ground_truths.items()}
    detections = {numbers[image_id]: value for image_id, value in detections.items()}
    head: dict[str, Any] = {
        "images": [
            {"id": number, "height": truth.height, "width": truth.width}
            for number, truth in ground_truths.items()
        ],
        "categories": [
            {"id": label, "name": name} for label, name in enumerate(categories, start=1)
        ],
    }
    expected = COCO({**head, "annotations": _ground_truth_rows(ground_truths)})
    predicted = COCO({**head, "annotations": _detection_rows(detections)})
    evaluation = COCOeval_faster(expected, predicted, "bbox")
    evaluation.run()
    summary = [_percent(value) for value in evaluation.stats]
    # Axes: IoU threshold, recall, category, size, number of detections.
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    aps = {name: _percent(_mean(precision[:, :, i])) for i, name in enumerate(categories)}
    absent = [name for name, value in aps.items() if np.isnan(value)]
    signature = (
        f"COCO bbox|IoU 0.50:0.05:0.95|detections 1, 10, 100|"
        f"faster-coco-eval {version('faster-coco-eval')}"
    )
    if absent:
        signature += (
            f"|mean over {len(aps) - len(absent)} of {len(aps)} categories"
            f", no boxes of: {format_names(absent, with_hash=True)}"
        )
    return DetectionScores(dict(zip(COCO_METRICS, summary, strict=True)), aps, signature)


def _ground_truth_rows(ground_truths: Mapping[int, GroundTruth]) -> list[dict[str, Any]]:
    """The ground truth in COCO's format of annotations, numbered from 1."""
    boxes = [
        (image_id, truth, index)
        for image_id, truth in sorted(ground_truths.items())
        for index in range(len(truth.labels))
    ]
    return [
        {
            "id": number,
            "image_id": image_id,
            "category_id": int(truth.labels[index]),
            "bbox": truth.xywh[index].tolist(),
            "area": float(truth.areas[index]),
            "iscrowd": int(truth.crowd[index]),
        }
        for number, (image_id, truth, index) in enumerate(boxes, start=1)
    ]


def _detection_rows(detections: Mapping[int, Detections]) -> list[dict[str, Any]]:
    """The detections in COCO's format of annotations, numbered from 1."""
    rows: list[dict[str, Any]] = []
    for image_id, (boxes, scores, labels) in sorted(detections.items()):
        starts, sides = boxes[:, :2], boxes[:, 2:] - boxes[:, :2]
        columns = zip(
            np.concatenate([starts, sides], axis=1).tolist(),
            sides.prod(axis=1).tolist(),
            scores.tolist(),
            labels.tolist(),
            strict=True,
        )
        rows += [
            {
                "image_id": image_id,
                "category_id": label,
                "bbox": box,
                "area": area,
                "score": score,
                "iscrowd": 0,
                "id": number,
            }
            for number, (box, area, score, label) in enumerate(columns, start=len(rows) + 1)
        ]
    return rows


def _mean(values: np.ndarray) -> float:
    """The mean of the values that are not -1, or -1 if there are none."""
    valid = values[values > -1]
    return float(valid.mean()) if valid.size else -1.0


def _percent(value: float) -> float:
    return float("nan") if value < 0 else 100 * float(value)
