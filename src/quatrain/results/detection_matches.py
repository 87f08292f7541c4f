"""Which detections of each test image match an object, from which AP of any resample is exact.

    matches = DetectionMatches(image_ids, ("dog", "cat"), ...)
    matches.scores("ap", times)         # of resamples of the images

Neither boxes nor scores are needed: AP depends on the order of the scores, and on the matches at
ten thresholds of IoU. A resample with an image k times is the test set with k copies of it.

Shapes: n images, o objects, d detections, r resamples.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

THRESHOLDS: Array = np.linspace(0.5, 0.95, 10)
"""COCO's thresholds of IoU."""

_RECALLS = np.linspace(0, 1, 101)
_ALL = tuple(range(len(THRESHOLDS)))
_OF = "ap_of_"
_BITS = {"ap": _ALL, "ap50": (0,), "ap75": (5,)}
"""The thresholds of each metric; other metrics are of one category at all of them."""
_LARGEST = 2**22
"""Numbers in the largest array of `scores`, which computes some resamples at a time."""


@dataclass(frozen=True, eq=False)
class DetectionMatches:
    """The matches of COCO's evaluation of objects of all sizes, 100 detections per image.

    Bit t of `matched` and of `ignored` is of threshold t; ignored detections are neither right nor
    wrong. Detections after the last match of their category may be left out.

    Args:
        image_ids: the images, (n,).
        names: the names of the categories.
        object_image: the index of the image of each object that is no crowd, (o,).
        object_category: the index of its category, (o,).
        image: the index of the image of each detection, (d,).
        category: the index of its category, in ascending order, and within a category by falling
            score, (d,).
        matched: whether it matches an object, (d,).
        ignored: whether it matches a crowd, (d,).
        tied: 1 where the detection before it has the same image, category and score, (d,).
    """

    image_ids: NDArray[np.int64]
    names: tuple[str, ...]
    object_image: NDArray[np.int32]
    object_category: NDArray[np.int32]
    image: NDArray[np.int32]
    category: NDArray[np.int32]
    matched: NDArray[np.uint16]
    ignored: NDArray[np.uint16]
    tied: NDArray[np.uint8]

    def is_valid(self) -> bool:
        """Whether shapes and values fit each other."""
        objects, detections = self.object_image.shape, self.image.shape
        shapes = [(self.object_category, objects)]
        shapes += [(x, detections) for x in (self.category, self.matched, self.ignored, self.tied)]
        limits = [(x, len(self.image_ids)) for x in (self.object_image, self.image)]
        limits += [(x, len(self.names)) for x in (self.object_category, self.category)]
        return (
            self.image_ids.ndim == len(objects) == len(detections) == 1
            and len(self.image_ids) > 0
            and all(x.dtype.kind in "iu" for x in vars(self).values() if x is not self.names)
            and all(values.shape == shape for values, shape in shapes)
            and all(((values >= 0) & (values < limit)).all() for values, limit in limits)
            and bool((np.diff(self.category) >= 0).all())
        )

    def knows(self, metric: str) -> bool:
        """Whether `scores` can compute the metric."""
        return metric in {*_BITS, *(_OF + name for name in self.names)}

    def scores(self, metric: str, times: Array) -> Array:
        """The metric in percent; nan where it is undefined, as in a resample without objects.

        Args:
            metric: "ap", "ap50", "ap75", or "ap_of_" and the name of a category.
            times: how often each resample has each image, (r, n).

        Returns:
            (r,)

        Source: Lin et al. 2014, Microsoft COCO, https://arxiv.org/abs/1405.0312, as defined by
            pycocotools, https://github.com/cocodataset/cocoapi: the mean over categories with
            objects, thresholds and 101 recalls of the highest precision at that recall or more.
        """
        bits = _BITS.get(metric, _ALL)
        categories = range(len(self.names))
        if metric not in _BITS:
            categories = [self.names.index(metric.removeprefix(_OF))]
        total, present = np.zeros(len(times)), np.zeros(len(times))
        for category in categories:
            objects = times @ self._objects_by_image(category)
            total += np.where(objects > 0, self._precision(category, bits, times, objects), 0)
            present += objects > 0
        return 100 * np.divide(total, present, out=np.full(len(times), np.nan), where=present > 0)

    def _objects_by_image(self, category: int) -> Array:
        images = self.object_image[self.object_category == category]
        return np.bincount(images, minlength=len(self.image_ids)).astype(np.float64)

    def _precision(
        self, category: int, bits: tuple[int, ...], times: Array, objects: Array
    ) -> Array:
        """The mean precision of a category over thresholds and recalls, (r,)."""
        start, stop = np.searchsorted(self.category, [category, category + 1])
        ranked = _Ranked(self, slice(start, stop), int(times.max()))
        rows = max(1, _LARGEST // max(1, len(ranked.rows)))
        mean = np.zeros(len(times))
        for first in range(0, len(times), rows):
            part = slice(first, first + rows)
            weights = ranked.weights(times[part].astype(np.int32))
            for correct, counted in ranked.at_matches(weights, bits):
                mean[part] += _at_recalls(correct, counted, objects[part])
        return mean / len(bits)


def _at_recalls(correct: NDArray[np.int32], counted: NDArray[np.int32], objects: Array) -> Array:
    """The mean of the precision at 101 recalls, (r,).

    Args:
        correct: the number of matches up to each match, (m, r).
        counted: the number of detections up to each match, (m, r).
        objects: the number of objects, (r,).
    """
    highest = correct / np.maximum(counted, 1)
    _accumulate(np.maximum, highest[::-1])
    recall = correct / np.maximum(objects, 1)
    nearest = np.rint(100 * recall).astype(np.int32)
    reached = nearest + (np.take(_RECALLS, nearest) <= recall)
    reached[1:] -= reached[:-1].copy()
    return np.einsum("mr,mr->r", highest, reached) / len(_RECALLS)


def _accumulate(operation: np.ufunc, rows: NDArray[Any]) -> None:
    """Combine each row with all before it, in place.

    Faster for long rows than `ufunc.accumulate`, which goes through the columns one by one.
    """
    for before, row in itertools.pairwise(rows):
        operation(before, row, out=row)


class _Ranked:
    """The detections of a category by falling score, those of copies of an image included.

    A detection of an image that a resample has k times counts k times in its place. Where right and
    wrong detections of one image have equal scores, the copy of the first comes after the last, so
    each copy has a place of its own.
    """

    def __init__(self, matches: DetectionMatches, own: slice, most: int) -> None:
        tied = matches.tied[own].astype(bool)
        flags = np.stack([matches.matched[own], matches.ignored[own]])
        differs = np.any(np.diff(flags, axis=1, prepend=flags[:, :1]), axis=0) & tied
        block = np.cumsum(~tied)
        several = np.bincount(block, differs, minlength=1)[block] > 0
        alone, together = np.flatnonzero(~several), np.flatnonzero(several)
        rows = np.concatenate([alone, np.tile(together, most)])
        copies = np.concatenate([0 * alone, np.repeat(np.arange(1, most + 1), len(together))])
        order = np.lexsort((rows, copies, block[rows]))
        self.rows = rows[order]
        self._copies = copies[order]
        self._image = matches.image[own][self.rows]
        self._matched = matches.matched[own][self.rows]
        self._ignored = matches.ignored[own][self.rows]

    def weights(self, times: NDArray[np.int32]) -> NDArray[np.int32]:
        """How often each detection counts, (r, places)."""
        weights = np.take(times, self._image, axis=1)
        places = np.flatnonzero(self._copies)
        weights[:, places] = weights[:, places] >= self._copies[places]
        return weights

    def at_matches(
        self, weights: NDArray[np.int32], bits: tuple[int, ...]
    ) -> Iterator[tuple[NDArray[np.int32], NDArray[np.int32]]]:
        """The numbers of matches and of all detections up to each match, at each threshold.

        Both are (m, r). Detections are summed between any two matches first, as there are many more
        of them.
        """
        ignored = [self._ignored >> bit & 1 > 0 for bit in bits]
        matched = [self._matched >> bit & 1 > 0 for bit in bits]
        hits = [own & ~left_out for own, left_out in zip(matched, ignored, strict=True)]
        places = np.flatnonzero(np.any(hits, axis=0))
        if not len(places):
            return
        starts = np.append(0, places[:-1] + 1)
        weights = weights[:, : places[-1] + 1]
        at_places = np.ascontiguousarray(weights[:, places].T)
        counted = _sums(weights, starts)
        for own, left_out in zip(hits, ignored, strict=True):
            here = np.flatnonzero(own[places])
            valid = ~left_out[: weights.shape[1]]
            ranks = counted if valid.all() else _sums(weights * valid, starts)
            correct = at_places[here]
            _accumulate(np.add, correct)
            yield correct, ranks[here]


def _sums(weights: NDArray[np.int32], starts: NDArray[np.intp]) -> NDArray[np.int32]:
    """The sums of weights, (r, d), before each start but the first and at the end: (m, r)."""
    between = np.add.reduceat(weights, starts, axis=1, dtype=np.int32)
    sums = np.ascontiguousarray(between.T)
    _accumulate(np.add, sums)
    return sums
