"""Counts of pixels by test image and class, from which mean IoU of any resample is exact.

    counts = PixelCounts(image_ids, ("sky", "road"), counts)
    counts.scores("miou", times)        # of resamples of the images

Shapes: n images, c classes, r resamples.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

_IOU = "iou_"


@dataclass(frozen=True, eq=False)
class PixelCounts:
    """The pixels of each image that are of a class in both, in the prediction and in the label.

    Pixels that the metric ignores are not counted.

    Args:
        image_ids: the images, (n,).
        names: the names of the c classes.
        counts: intersection, prediction and label, (n, 3, c).
    """

    image_ids: NDArray[np.int64]
    names: tuple[str, ...]
    counts: NDArray[np.int32]

    def is_valid(self) -> bool:
        """Whether shapes and values fit each other."""
        counts = self.counts
        if self.image_ids.ndim != 1 or counts.shape != (len(self.image_ids), 3, len(self.names)):
            return False
        return bool(len(counts) and self.names and counts.dtype.kind in "iu" and counts.min() >= 0)

    def knows(self, metric: str) -> bool:
        """Whether `scores` can compute the metric."""
        return metric in {"miou", "pixel_accuracy", *(_IOU + name for name in self.names)}

    def scores(self, metric: str, times: Array) -> Array:
        """The metric in percent; nan where it is undefined.

        Args:
            metric: "miou", "pixel_accuracy", or "iou_" and the name of a class.
            times: how often each resample has each image, (r, n).

        Returns:
            (r,)

        Source: Everingham et al. 2010, https://doi.org/10.1007/s11263-009-0275-4; the mean is over
            the classes that the resample has in a label or a prediction.
        """
        sums = times @ self.counts.reshape(len(self.counts), -1).astype(np.float64)
        both, predicted, labelled = sums.reshape(len(times), 3, -1).transpose(1, 0, 2)
        if metric == "pixel_accuracy":
            return 100 * _ratio(both.sum(1), labelled.sum(1))
        ious = _ratio(both, predicted + labelled - both)
        if metric != "miou":
            return 100 * ious[:, self.names.index(metric.removeprefix(_IOU))]
        present = ~np.isnan(ious)
        return 100 * _ratio(np.where(present, ious, 0).sum(1), present.sum(1).astype(np.float64))


def _ratio(part: Array, whole: Array) -> Array:
    return np.divide(part, whole, out=np.full(whole.shape, np.nan), where=whole > 0)
