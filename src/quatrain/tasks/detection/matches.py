"""The matches of detections and objects, by image, from which AP of other test sets is computed.

    match_detections(metric)  ->  DetectionMatches

Shapes: d detections and g objects of one image and category, t thresholds.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from faster_coco_eval import mask
from jaxtyping import Bool, Float64, Int64, Shaped

from quatrain.results.detection_matches import THRESHOLDS, DetectionMatches
from quatrain.tasks.detection.corpus import GroundTruth
from quatrain.tasks.detection.detections import Detections
from quatrain.tasks.detection.metric import DetectionMetric

_MOST = 100
"""Detections of an image and category that COCO counts."""
_LARGEST_AREA = 1e10
"""COCO's limit for objects of all sizes, in pixels."""


class _Matched(NamedTuple):
    """The detections of one image and category by falling score."""

    scores: Float64[np.ndarray, " d"]
    matched: Bool[np.ndarray, "t d"]
    ignored: Bool[np.ndarray, "t d"]


def match_detections(metric: DetectionMetric) -> DetectionMatches:
    """Match the detections of each image to its objects, as COCO's evaluation does.

    Source: Lin et al. 2014, Microsoft COCO, https://arxiv.org/abs/1405.0312, as defined by
        pycocotools, https://github.com/cocodataset/cocoapi: detections by falling score take the
        free object of the highest IoU; those that only match a crowd are ignored.
    """
    ids = sorted(metric.ground_truths)
    truths = [metric.ground_truths[image_id] for image_id in ids]
    found = [metric.detections[image_id] for image_id in ids]
    objects = [_is_object(truth) for truth in truths]
    parts = [
        _arrays_of(category, truths, found) for category in range(1, len(metric.categories) + 1)
    ]
    image, category, matched, ignored, tied = (
        np.concatenate(arrays) for arrays in zip(*parts, strict=True)
    )
    return DetectionMatches(
        image_ids=np.array(ids, np.int64),
        names=metric.categories,
        object_image=np.repeat(np.arange(len(ids), dtype=np.int32), [x.sum() for x in objects]),
        object_category=np.concatenate(
            [truth.labels[mask] - 1 for truth, mask in zip(truths, objects, strict=True)]
        ).astype(np.int32),
        image=image.astype(np.int32),
        category=category.astype(np.int32),
        matched=matched,
        ignored=ignored,
        tied=tied.astype(np.uint8),
    )


def _is_object(truth: GroundTruth) -> Bool[np.ndarray, " g"]:
    return ~truth.crowd & (truth.areas <= _LARGEST_AREA)


def _arrays_of(
    label: int, truths: list[GroundTruth], found: list[Detections]
) -> tuple[Shaped[np.ndarray, " d"], ...]:
    """Image, category, matched, ignored and tied of a category, up to its last match."""
    parts = list(_matched_in(label, truths, found))
    image = np.repeat(np.arange(len(parts)), [len(part.scores) for part in parts])
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    matched, ignored = (
        _as_bits(np.concatenate(flags, axis=1)[:, order])
        for flags in zip(*((part.matched, part.ignored) for part in parts), strict=True)
    )
    image, scores = image[order], scores[order]
    tied = np.zeros(len(order), np.bool_)
    tied[1:] = (image[1:] == image[:-1]) & (scores[1:] == scores[:-1])
    last = int(np.flatnonzero(matched)[-1]) if matched.any() else -1
    # A match may be tied with later detections, which a copy of it follows.
    later = np.flatnonzero(~tied[last + 1 :])
    stop = last + 1 + int(later[0]) if len(later) else len(order)
    stop = stop if last >= 0 else 0
    kept = (image, np.full(len(order), label - 1), matched, ignored, tied)
    return tuple(values[:stop] for values in kept)


def _matched_in(
    label: int, truths: list[GroundTruth], found: list[Detections]
) -> Iterator[_Matched]:
    """The detections of a category in each image."""
    for truth, (boxes, scores, labels) in zip(truths, found, strict=True):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(-scores[own], kind="stable")][:_MOST]
        of_label = truth.labels == label
        ignored = ~_is_object(truth)[of_label]
        if not (len(own) and len(ignored)):
            none = np.zeros((len(THRESHOLDS), len(own)), np.bool_)
            yield _Matched(scores[own], none, none)
            continue
        starts, sides = boxes[own, :2], boxes[own, 2:] - boxes[own, :2]
        crowd = truth.crowd[of_label]
        ious = mask.iou(
            np.concatenate([starts, sides], axis=1).tolist(),
            truth.xywh[of_label].tolist(),
            crowd.astype(int).tolist(),
        )
        yield _Matched(scores[own], *_match(np.asarray(ious), ignored, crowd))


def _match(
    ious: Float64[np.ndarray, "d g"],
    ignored: Bool[np.ndarray, " g"],
    crowd: Bool[np.ndarray, " g"],
) -> tuple[Bool[np.ndarray, "t d"], Bool[np.ndarray, "t d"]]:
    """Whether each detection matches an object, and whether it is ignored, at each threshold.

    Of objects with equal IoU the last is taken. Crowds may be matched several times.
    """
    limits = np.minimum(THRESHOLDS, 1 - 1e-10)[:, None]
    taken = np.zeros((len(limits), ious.shape[1]), np.bool_)
    matched, by_ignored = (np.zeros((len(limits), len(ious)), np.bool_) for _ in range(2))
    rows = np.arange(len(limits))
    for number, own in enumerate(ious):
        possible = (own >= limits) & (~taken | crowd)
        wanted = possible & ~ignored
        has_object = wanted.any(1)
        candidates = np.where(has_object[:, None], wanted, possible)
        best = _last_largest(np.where(candidates, own, -1.0))
        has_match = candidates.any(1)
        taken[rows[has_match], best[has_match]] = True
        matched[:, number] = has_object
        by_ignored[:, number] = has_match & ~has_object
    return matched, by_ignored


def _last_largest(values: Float64[np.ndarray, "t g"]) -> Int64[np.ndarray, " t"]:
    return values.shape[1] - 1 - np.argmax(values[:, ::-1], axis=1)


def _as_bits(flags: Bool[np.ndarray, "t d"]) -> Shaped[np.ndarray, " d"]:
    """A number for each detection whose bit t is the flag of threshold t."""
    powers = 1 << np.arange(len(flags), dtype=np.uint16)
    return (flags * powers[:, None]).sum(0).astype(np.uint16)
