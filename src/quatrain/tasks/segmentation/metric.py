"""How good a segmentation is: IoU of each class, their mean, and pixels that are right.

    matrix = ConfusionMatrix(classes=19)
    matrix.add(image_id, prediction, label)     each image of this process's shard
    (matrix + that_of_another_process).scores(names)

Counts are whole numbers, so neither the order of images nor the number of processes changes a
score. A matrix knows its images: none counts twice.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Int64, Shaped
from torch import Tensor

from quatrain.specs import DataError, InputError
from quatrain.tasks.segmentation.corpus import IGNORE
from quatrain.tasks.vision import listed_uniquely


@dataclass(frozen=True)
class SegmentationScores:
    """All in percent. The IoU of a class that is in neither truth nor prediction is nan."""

    miou: float
    pixel_accuracy: float
    classes: dict[str, float]

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers that there are, for a record; "iou_sky" is that of the class sky."""
        found = {f"iou_{name}": iou for name, iou in self.classes.items() if not np.isnan(iou)}
        return {"miou": self.miou, "pixel_accuracy": self.pixel_accuracy, **found}

    @property
    def signature(self) -> str:
        """How many classes the mean IoU is over, and the names of the others."""
        absent = [name for name, iou in self.classes.items() if np.isnan(iou)]
        present = len(self.classes) - len(absent)
        counted = f"mean over {present} of {len(self.classes)} classes"
        if not absent:
            return counted
        return f"{counted}; in neither truth nor prediction: {listed_uniquely(absent)}"


class ConfusionMatrix:
    """How many pixels of class i (row) were predicted as class j (column), as int64.

    Raises:
        InputError: if there are not from 1 to 255 classes.
    """

    def __init__(self, classes: int) -> None:
        if not 1 <= classes <= IGNORE:
            raise InputError("classes", classes, f"1 to {IGNORE}", f"{IGNORE} stands for ignored")
        self.counts = torch.zeros(classes, classes, dtype=torch.int64)
        self.images: frozenset[int] = frozenset()

    def add(
        self, image_id: int, prediction: Shaped[Tensor, "..."], label: Shaped[Tensor, "..."]
    ) -> None:
        """Count one image. Pixels whose label is IGNORE do not count, nor does a known image.

        Both are (h, w) and of any integer type, as uint8 of a PNG.

        Raises:
            InputError: if shapes differ, values are of no integer type, or a prediction is no
                class.
            DataError: if a label is neither a class nor IGNORE.
        """
        prediction = class_indices(prediction, f"the prediction of image {image_id}")
        label = class_indices(label, f"the label of image {image_id}")
        if prediction.shape != label.shape:
            raise InputError(
                f"the shape of the prediction of image {image_id}",
                tuple(prediction.shape),
                f"{tuple(label.shape)}, as the label",
                "resize the scores of the classes to the label before taking the best",
            )
        classes = len(self.counts)
        judged = label != IGNORE
        wanted, given = label[judged], prediction[judged]
        if ((wanted < 0) | (wanted >= classes)).any():
            raise DataError(
                f"the label of image {image_id}",
                f"{int(wanted.min())} to {int(wanted.max())}",
                f"0 to {classes - 1}, or {IGNORE}",
                "mend the label",
            )
        if ((given < 0) | (given >= classes)).any():
            raise InputError(
                f"the prediction of image {image_id}",
                f"{int(given.min())} to {int(given.max())}",
                f"0 to {classes - 1}",
                "predict a class for each pixel",
            )
        if image_id in self.images:
            return
        both = torch.bincount(wanted * classes + given, minlength=classes * classes)
        self.counts += both.reshape(classes, classes)
        self.images |= {image_id}

    def __add__(self, other: "ConfusionMatrix") -> "ConfusionMatrix":
        """The matrix of the images of both.

        Raises:
            InputError: if both counted an image, or their numbers of classes differ.
        """
        shared = self.images & other.images
        if shared:
            raise InputError(
                "images of both matrices",
                f"{len(shared)}, the first {min(shared)}",
                "none",
                "divide images by `shard`: samplers for training repeat some",
            )
        if self.counts.shape != other.counts.shape:
            raise InputError(
                "classes of the other matrix", len(other.counts), str(len(self.counts)), "add alike"
            )
        added = ConfusionMatrix(len(self.counts))
        added.counts = self.counts + other.counts
        added.images = self.images | other.images
        return added

    def scores(self, names: Sequence[str]) -> SegmentationScores:
        """Scores of all images counted; `names` are those of the classes, in order.

        The mean is over the classes that are in the truth or in a prediction.

        Source: Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4, for the
        intersection over union of a class, over all pixels of a data set.

        Raises:
            InputError: if no pixel was counted, or there is another number of names.
        """
        if len(names) != len(self.counts):
            raise InputError("names", len(names), f"{len(self.counts)} names", "name each class")
        counts = self.counts.double().numpy()
        right, total = counts.diagonal(), counts.sum()
        if not total:
            raise InputError("counted pixels", 0, "at least one", "add an image with a label")
        union = counts.sum(0) + counts.sum(1) - right
        iou = np.divide(right, union, out=np.full(len(union), np.nan), where=union > 0)
        return SegmentationScores(
            miou=100 * float(np.nanmean(iou)),
            pixel_accuracy=100 * float(right.sum() / total),
            classes=dict(zip(names, (100 * iou).tolist(), strict=True)),
        )


def class_indices(values: Shaped[Tensor, "..."], field: str) -> Int64[Tensor, "h w"]:
    """Classes of the pixels of an image as int64, on the CPU, from any integer type.

    Arithmetic in uint8 wraps around at 256: it would count pixels for other classes.

    Raises:
        InputError: if they are no integers, or have no height and width.
    """
    if values.is_floating_point() or values.is_complex() or values.dtype == torch.bool:
        remedy = "take the argmax of scores, and convert masks with .long()"
        raise InputError(field, str(values.dtype), "an integer type, one class a pixel", remedy)
    if values.ndim != 2:
        remedy = "pass the images of a batch one by one"
        raise InputError(f"the shape of {field}", tuple(values.shape), "(height, width)", remedy)
    return values.cpu().long()
