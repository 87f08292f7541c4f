"""The choice of the resampling of a metric: BLEU by sentences, mean IoU and AP by images."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from quatrain.report.resampling.bleu import METRIC as BLEU
from quatrain.report.resampling.bleu import resample_bleu
from quatrain.report.resampling.images import resample_images
from quatrain.report.runs import ReportedRun
from quatrain.results.resampling import Array


@dataclass(frozen=True)
class Resampled:
    """The metric of runs on resampled test sets."""

    examples: str = "examples"
    """The kind of test examples, in the plural."""
    scores: Mapping[str, Array] = field(default_factory=dict[str, Array])
    """By the identity of a run, an array of shape (resamples,)."""


def resample(runs: Iterable[ReportedRun], metric: str, data: Path | None = None) -> Resampled:
    """The metric of each run that has the files for it, on resamples of its test set.

    Args:
        runs: runs, finished or not.
        metric: the name of the metric.
        data: the folder of parallel text that the runs read.

    Raises:
        DataError: if `data` lacks the file of references, or has another one.
        MissingPackageError: if there is `data`, and sacreBLEU is not installed.
    """
    if metric == BLEU:
        return Resampled("sentences", resample_bleu(runs, data))
    return Resampled("images", resample_images(runs, metric))
