"""The share of a training step spent waiting for images to load.

    python -m benchmarks.inputs
    python -m benchmarks.inputs --steps 40 --json

The small detector on JPEG images of 1024 x 768, 4 a step, and the small segmenter on PNG images
and label maps of 480 x 360, 8 a step, as the studies train them: decoded, resized and augmented in
each step. "readers" are worker processes that do this in parallel, on cores that the training uses
too; 0 is in the training process itself. "waits" is the waiting share of a step, the median over
the last two thirds of the steps, after the workers have started.
"""

import json
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.command import measure_rows, run
from benchmarks.images import write_detection, write_segmentation
from benchmarks.result import Result, Row
from quatrain.tasks.detection import CocoSpec, DetectionSpec, small_detection
from quatrain.tasks.segmentation import FoldersSpec, SegmentationSpec, small_segmentation
from quatrain.training import train

NUM_WORKERS = (0, 1, 2)
IMAGES = 64
Case = tuple[DetectionSpec | SegmentationSpec, str, Path, int]


def measure(steps: int, rounds: int, device: str) -> Result:
    """Measure each network and number of workers: medians over rounds of one training each."""
    detection = small_detection(None, CocoSpec(test="val"), steps=steps)
    segmentation = small_segmentation(None, FoldersSpec(test="val"), steps=steps)
    with TemporaryDirectory() as folder:
        detection_data, segmentation_data = (
            Path(folder) / "detection",
            Path(folder) / "segmentation",
        )
        write_detection(detection_data, IMAGES)
        write_segmentation(segmentation_data, IMAGES)
        cases: list[Case] = [
            (spec, name, data, num_workers)
            for spec, name, data in (
                (detection, "detector", detection_data),
                (segmentation, "segmenter", segmentation_data),
            )
            for num_workers in NUM_WORKERS
        ]
        rows = measure_rows(cases, partial(_row, rounds=rounds, device=device))
    return Result.from_rows("inputs", rounds=rounds, rows=rows, device=device)


def _row(case: Case, rounds: int, device: str) -> Row:
    spec, name, data, num_workers = case
    trainings = [_train(spec, data, num_workers, device) for _ in range(rounds)]
    waits, seconds = zip(*trainings, strict=True)
    return {
        "network": name,
        "readers": str(num_workers),
        "waits": statistics.median(waits),
        "ms a step": 1e3 * statistics.median(seconds),
    }


def _train(
    spec: DetectionSpec | SegmentationSpec, data: Path, num_workers: int, device: str
) -> tuple[float, float]:
    """The waiting share and the seconds of a step, medians over the later part of a training."""
    recipe = spec.recipe.model_copy(update={"report_every": 1})
    task = spec.model_copy(update={"recipe": recipe}).open(data, data, seed=0)
    with TemporaryDirectory() as folder:
        train(task, Path(folder), seed=0, device=device, num_workers=num_workers)
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    ends = [line["seconds"] for line in logged]
    later = slice(len(logged) // 3, None)
    steps = [after - before for before, after in zip([0.0, *ends[:-1]], ends, strict=True)]
    waits = [line["waiting"] for line in logged]
    return statistics.median(waits[later]), statistics.median(steps[later])


if __name__ == "__main__":
    run(__doc__, measure, rounds=3, steps=24, device="cpu")
