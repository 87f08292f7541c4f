"""Mean IoU or AP of finished runs on resampled test images, from their scores by image.

    runs/1a2b.../image_scores.safetensors       counts of pixels, or matches of detections

Runs whose file is missing or damaged, or does not give the metric of the record, are left out; so
are runs whose metric is undefined on a resample, such as the IoU of a rare class.
"""

from collections.abc import Iterable
from functools import lru_cache, partial
from pathlib import Path

import numpy as np

from quatrain.report.runs import ReportedRun
from quatrain.results.image_scores import IMAGE_SCORES, read_image_scores
from quatrain.results.resampling import Array, resampled_scores

_ROUNDING = 1e-6
"""Metrics are up to 100; versions of packages may differ in the last digits."""


def resample_images(runs: Iterable[ReportedRun], metric: str) -> dict[str, Array]:
    """The metric of each run on each resample of its test images.

    Returns:
        By the run's identity, an array of shape (resamples,).
    """
    scores: dict[str, Array] = {}
    for run in runs:
        path = run.folder / IMAGE_SCORES
        if run.record is None or metric not in run.record.metrics or not path.is_file():
            continue
        changed = path.stat().st_mtime_ns
        found = _scores_of(run.folder, changed, metric, run.record.metrics[metric])
        if found is not None:
            scores[run.record.identity] = found
    return scores


@lru_cache(maxsize=4096)
def _scores_of(folder: Path, changed: int, metric: str, stored: float) -> Array | None:  # noqa: ARG001
    """The scores of one run, kept for the pages of a running study; `changed` is of its file."""
    images = read_image_scores(folder)
    if images is None or not images.knows(metric):
        return None
    examples = len(images.image_ids)
    if not abs(images.scores(metric, np.ones((1, examples)))[0] - stored) <= _ROUNDING:
        return None
    scores = resampled_scores({"": partial(images.scores, metric)}, examples)[""]
    return scores if np.isfinite(scores).all() else None
