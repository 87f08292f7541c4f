"""How much of a training step is waiting for images that are read from files.

    python -m benchmarks.inputs
    python -m benchmarks.inputs --steps 40 --json

The small detector on JPEG photographs of 1024 x 768, 4 a step, and the small segmenter on PNG
images and labels of 480 x 360, 8 a step, as the studies train them: decoded, resized and augmented
anew for each step. With 0 readers the training does that itself; a reader is a process that does it
meanwhile, on a core that the training may want too. "waits" is the share of a step, the median over
the last two thirds of the steps: readers begin with the first.
"""

import json
import statistics
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.command import measured, run
from benchmarks.outcome import Outcome, Row
from benchmarks.photos import write_detection, write_segmentation
from quatrain.tasks.detection import CocoSpec, DetectionSpec, small_detection
from quatrain.tasks.segmentation import FoldersSpec, SegmentationSpec, small_segmentation
from quatrain.training import train

READERS = (0, 1, 2)
IMAGES = 64
Case = tuple[DetectionSpec | SegmentationSpec, str, Path, int]


def measure(steps: int, rounds: int, device: str) -> Outcome:
    """A row for each network and number of readers; medians over rounds, one training each."""
    detection = small_detection(None, CocoSpec(test="val"), steps=steps)
    segmentation = small_segmentation(None, FoldersSpec(test="val"), steps=steps)
    with TemporaryDirectory() as folder:
        homes = Path(folder) / "detection", Path(folder) / "segmentation"
        write_detection(homes[0], IMAGES)
        write_segmentation(homes[1], IMAGES)
        cases: list[Case] = [
            (spec, name, home, readers)
            for spec, name, home in (
                (detection, "detector", homes[0]),
                (segmentation, "segmenter", homes[1]),
            )
            for readers in READERS
        ]
        rows = measured(cases, partial(_row, rounds=rounds, device=device))
    return Outcome.here("inputs", rounds=rounds, rows=rows, device=device)


def _row(case: Case, rounds: int, device: str) -> Row:
    spec, name, home, readers = case
    found = [_trained(spec, home, readers, device) for _ in range(rounds)]
    waits, seconds = zip(*found, strict=True)
    return {
        "network": name,
        "readers": str(readers),
        "waits": statistics.median(waits),
        "ms a step": 1e3 * statistics.median(seconds),
    }


def _trained(
    spec: DetectionSpec | SegmentationSpec, home: Path, readers: int, device: str
) -> tuple[float, float]:
    """The share of waiting and the seconds of a step, in the later part of a training."""
    recipe = spec.recipe.model_copy(update={"report_every": 1})
    task = spec.model_copy(update={"recipe": recipe}).open(home, home, seed=0)
    with TemporaryDirectory() as folder:
        train(task, Path(folder), seed=0, device=device, num_workers=readers)
        lines = (Path(folder) / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    logged = [json.loads(line) for line in lines]
    ends = [line["seconds"] for line in logged]
    later = slice(len(logged) // 3, None)
    steps = [after - before for before, after in zip([0.0, *ends[:-1]], ends, strict=True)]
    waits = [line["waiting"] for line in logged]
    return statistics.median(waits[later]), statistics.median(steps[later])


if __name__ == "__main__":
    run(__doc__, measure, rounds=3, steps=24, device="cpu")
