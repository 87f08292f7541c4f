"""Segmentation metrics: IoU of each class, mean IoU and pixel accuracy.

    matrix = ConfusionMatrix(classes=19)
    matrix.add(image_id, prediction, label)     each image of this process's shard
    (matrix + matrix_of_another_process).scores(names)

Counts are integers, so neither the order of images nor the number of processes changes a score. A
matrix stores the ids of its images, so that none counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from numpy.typing import NDArray
from torch import Tensor

from quatrain.results.pixel_counts import PixelCounts
from quatrain.specs import DataError, InputError
from quatrain.tasks.segmentation.corpus import IGNORE
from quatrain.tasks.vision import format_names


@dataclass(frozen=True)
class SegmentationScores:
    """Scores in percent; the IoU of a class in neither ground truth nor prediction is nan."""

    miou: float
    pixel_accuracy: float
    classes: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """The scores without nan, for a record; "iou_sky" is the IoU of the class sky."""
        present = {f"iou_{name}": iou for name, iou in self.classes.items() if not np.isnan(iou)}
        return {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy, **present}

    @property
    def signature(self) -> str:
        """The number of classes in the mean IoU, and the names of the others."""
        absent = [name for name, iou in self.classes.items() if np.isnan(iou)]
        present = len(self.classes) - len(absent)
        count = f"mean over {present} of {len(self.classes)} classes"
        if not absent:
            return count
        names = format_names(absent, with_hash=True)
        return f"{count}; in neither truth nor prediction: {names}"


class ConfusionMatrix:
    """Counts of the pixels of class i (row) that were predicted as class j (column), in int64.

    Raises:
        InputError: if there are not from 1 to 255 classes.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            message = f"classes={classes} is not from 1 to {IGNORE}; the label {IGNORE} is ignored"
            raise InputError(message, "classes")
        self.counts: Tensor = torch.zeros(classes, classes, dtype=torch.int64)
        self.images: frozenset[int] = frozenset()
        self._by_image: dict[int, NDArray[np.int32]] = {}

    def add(
        self, image_id: int, prediction: Shaped[Tensor, "..."], label: Shaped[Tensor, "..."]
    ) -> None:
        """Count the pixels of one image; a second call for an image has no effect.

        Pixels whose label is IGNORE are not counted.

        Raises:
            InputError: if shapes differ, values are of no integer type, or a prediction is no
                class.
            DataError: if a label is neither a class nor IGNORE.
        """
        classes = len(self.counts)
        prediction, label = class_indices(image_id, prediction, label, classes)
        if image_id in self.images:
            return
        scored = label != IGNORE
        pairs = label[scored] * classes + prediction[scored]
        counts = torch.bincount(pairs, minlength=classes * classes).reshape(classes, classes)
        self.counts += counts
        self.images |= {image_id}
        margins = (counts.diagonal(), counts.sum(0), counts.sum(1))
        self._by_image[image_id] = torch.stack(margins).to(torch.int32).numpy()

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """The matrix of the images of both.

        Raises:
            InputError: if both counted an image, or their numbers of classes differ.
        """
        shared = self.images & other.images
        if shared:
            problem = f"both matrices counted {len(shared)} images, the first {min(shared)}"
            remedy = "divide the images by `process_shard`, since training samplers repeat some"
            raise InputError(f"{problem}; {remedy}", "images")
        if self.counts.shape != other.counts.shape:
            numbers = f"{len(self.counts)} and {len(other.counts)}"
            message = f"the matrices have {numbers} classes; add matrices of equal size"
            raise InputError(message, "classes")
        added = ConfusionMatrix(len(self.counts))
        added.counts = self.counts + other.counts
        added.images = self.images | other.images
        added._by_image = self._by_image | other._by_image
        return added

    def pixel_counts(self, names: Sequence[str]) -> PixelCounts:
        """The counts of each image, by ascending id; `names` as in `scores`."""
        ids = sorted(self._by_image)
        counts = np.stack([self._by_image[image_id] for image_id in ids])
        return PixelCounts(np.array(ids, np.int64), tuple(names), counts)

    def scores(self, names: Sequence[str]) -> SegmentationScores:
        """The scores of all images; `names` are those of the classes, in order.

        The mean IoU is over the classes that occur in the ground truth or in a prediction.

        Source: Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4, for the
        intersection over union of a class, over all pixels of a data set.

        Raises:
            InputError: if no pixel was counted, or the number of names is wrong.
        """
        if len(names) != len(self.counts):
            problem = f"there are {len(names)} names for {len(self.counts)} classes"
            raise InputError(f"{problem}; pass one for each", "names")
        counts = self.counts.double().numpy()
        correct, total = counts.diagonal(), counts.sum()
        if not total:
            raise InputError("no pixel was counted; add an image with a label", "counts")
        union = counts.sum(0) + counts.sum(1) - correct
        iou = np.divide(correct, union, out=np.full(len(union), np.nan), where=union > 0)
        return SegmentationScores(
            miou=100 * float(np.nanmean(iou)),
            pixel_accuracy=100 * float(correct.sum() / total),
            classes=dict(zip(names, (100 * iou).tolist(), strict=True)),
        )


def class_indices(
    image_id: int, prediction: Shaped[Tensor, "..."], label: Shaped[Tensor, "..."], classes: int
) -> tuple[Int64[Tensor, "h w"], Int64[Tensor, "h w"]]:
    """Prediction and label of an image as int64 on the CPU, both IGNORE where the label is.

    Both are (h, w) and of any integer type; arithmetic in uint8 would wrap around at 256.
    """
    prediction = _to_int64(prediction, "prediction", image_id)
    label = _to_int64(label, "label", image_id)
    if prediction.shape != label.shape:
        shapes = f"{tuple(prediction.shape)} and the label {tuple(label.shape)}"
        remedy = "resize the scores of the classes to the label before taking the argmax"
        message = f"the prediction of image {image_id} has the shape {shapes}; {remedy}"
        raise InputError(message, "prediction")
    scored = label != IGNORE
    for name, values, error, remedy in (
        ("label", label[scored], DataError, f"use 0 to {classes - 1}, or {IGNORE} to ignore"),
        ("prediction", prediction[scored], InputError, f"predict 0 to {classes - 1}"),
    ):
        if len(values) and not 0 <= int(values.min()) <= int(values.max()) < classes:
            extremes = f"{int(values.min())} to {int(values.max())}"
            raise error(f"the {name} of image {image_id} has values {extremes}; {remedy}", name)
    return torch.where(scored, prediction, IGNORE), label


def _to_int64(values: Shaped[Tensor, "..."], name: str, image_id: int) -> Int64[Tensor, "h w"]:
    title = f"the {name} of image {image_id}"
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        remedy = "pass integers: take the argmax of scores, and convert masks with .long()"
        raise InputError(f"{title} is of {values.dtype}; {remedy}", name)
    if values.ndim != 2:
        problem = f"{title} has the shape {tuple(values.shape)}"
        raise InputError(f"{problem}; pass (height, width), one image after the other", name)
    return values.cpu().long()
