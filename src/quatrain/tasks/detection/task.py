"""The detection task: from images, boxes and a spec to something the loop can train.

    spec = DetectionSpec(data=CocoSpec(), model=DetectorSpec())
    task = spec.open(data=Path("coco"), folder=Path("run"), seed=0)

Shapes: n images, h w their size.
"""

import json
import operator
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, cast

import torch
from pydantic import Field
from torch import Tensor, nn

from quatrain.cost import count_multiply_adds, model_cost, training_hours
from quatrain.cost.meta import build_on_meta, meta_image
from quatrain.models.detector import Detector, DetectorLayers, DetectorSpec
from quatrain.results import write_atomically
from quatrain.specs import Spec
from quatrain.tasks.detection.augment import DetectionAugmentation, rescale
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart, DetectionSample
from quatrain.tasks.detection.data import DetectionData, read_detection
from quatrain.tasks.detection.found import Found
from quatrain.tasks.detection.metric import DetectionMetric
from quatrain.tasks.detection.objective import DetectionObjective, collated
from quatrain.tasks.detection.pictures import detection_picture, largest_object
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.vision import (
    Draw,
    ImageTask,
    attention_picture,
    image_generator,
    merged,
    own_shard,
    write_picture,
)
from quatrain.training import Evaluation, Recipe, Steps

DETECTIONS = "detections.json"

_PRICED_CLASSES = 80
_DRAWN = 4
"""Images of the test part that a run draws."""


class DetectionSpec(Spec):
    """A detection experiment; the defaults are the paper's, on digit scenes.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1: twelve epochs of COCO's
        118,000 images by 16; warm-up and clipping as in mmdetection's settings.
    """

    kind: Literal["detection"] = "detection"
    data: DetectionData = DigitScenesSpec()
    model: DetectorSpec = DetectorSpec()
    augmentation: DetectionAugmentation = DetectionAugmentation()
    recipe: Recipe = Recipe(
        steps=87_960,
        optimizer="sgd",
        learning_rate=0.02,
        momentum=0.9,
        weight_decay=1e-4,
        warmup_steps=500,
        warmup_from=0.02 / 3,
        schedule=Steps(),
        clip_norm=35.0,
    )
    batch: int = Field(default=16, ge=1)
    """Images of a training batch."""

    def open(self, data: Path | None, folder: Path, seed: int) -> "DetectionTask":  # noqa: ARG002
        """Read and check the data; nothing is kept in the run's folder.

        Raises:
            DataError: if the data cannot be used.
        """
        return DetectionTask(self, read_detection(self.data, data), seed)

    def gpu_hours(self) -> float:
        """Hours of training on one GPU, by arithmetic, before anything was run.

        Images are of the paper's shape, 3 to 5, with the proposals that train the heads; see
        `training_hours`.
        """
        size = self.augmentation.resized(300, 500)
        dense = DetectorLayers(
            build_on_meta(self.model, _PRICED_CLASSES), self.model.regions_sampled
        )
        images = self.recipe.steps * self.recipe.accumulate * self.batch
        forward = count_multiply_adds(dense, meta_image(size))
        return training_hours(forward * images)


class DetectionTask(ImageTask[DetectionSpec, DetectionCorpus]):
    """Images and boxes of one run, its objective and its metrics."""

    rate_unit = "images"

    def build(self) -> DetectionObjective:
        """A fresh detector under its losses."""
        return DetectionObjective(self.spec.model.build(len(self.corpus.categories)))

    def collate(self, plan: Draw) -> dict[str, Tensor]:
        """The augmented images of one batch, padded to one size, and their boxes."""
        augment = self.spec.augmentation.train
        return collated(
            [
                augment(self.corpus.train[index], image_generator(self.seed, plan.epoch, index))
                for index in plan.indices
            ]
        )

    def monitor(self, objective: nn.Module) -> dict[str, float]:
        """COCO's numbers on the validation part, in percent, and the mean loss of its images."""
        metric = self.detect(_detector(objective), self.corpus.valid)
        scores = {f"valid_{name}": value for name, value in metric.scores().metrics.items()}
        return {"valid_loss": self._loss(objective, self.corpus.valid), **scores}

    def evaluate(self, objective: nn.Module, folder: Path) -> Evaluation:
        """COCO's numbers and the AP of each category on the test part, in percent.

        What was found is kept, in COCO's format of results, and drawn for the first images.
        """
        detector = _detector(objective)
        metric = self.detect(detector, self.corpus.test)
        scores = metric.scores()
        results = metric.results(self.corpus.category_ids)
        write_atomically(folder / DETECTIONS, json.dumps(results))
        drawn = self._draw(detector, metric.found, folder)
        return Evaluation(
            {**scores.metrics, **scores.category_metrics},
            {"ap": scores.signature},
            (DETECTIONS, *drawn),
        )

    @torch.no_grad()
    def detect(self, detector: Detector, part: DetectionPart) -> DetectionMetric:
        """What is found in a part; every process has its share to look at."""
        metric = DetectionMetric(self.corpus.categories, part.truths)
        device = next(detector.parameters()).device
        for index in own_shard(len(part)):
            sample = part[index]
            shown = self.spec.augmentation.evaluate(sample)
            (found,) = detector([shown.image.to(device)])
            boxes = rescale(found.boxes.float(), _size(shown), _size(sample))
            metric.add(sample.image_id, boxes, found.scores.float(), found.labels)
        metric.merge(merged(metric.found, operator.or_))
        return metric

    @torch.no_grad()
    def _loss(self, objective: nn.Module, part: DetectionPart) -> float:
        """The mean loss of an image; what is sampled from one is the same every time."""
        device = next(objective.parameters()).device
        totals: dict[int, float] = {}
        with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
            for index in own_shard(len(part)):
                torch.manual_seed(index)
                batch = collated([self.spec.augmentation.evaluate(part[index])])
                loss = objective(**{name: value.to(device) for name, value in batch.items()})
                totals[index] = float(loss.total)
        # In the order of the images, whichever process had them.
        return sum(total for _, total in sorted(merged(totals, operator.or_).items())) / len(part)

    def cost(self, objective: nn.Module) -> dict[str, float]:
        """Parameters, and multiply-adds of the first test image with all its proposals."""
        first = self.corpus.test.truths[0]
        size = self.spec.augmentation.resized(first.height, first.width)
        spec = self.spec.model
        detector = build_on_meta(spec, len(self.corpus.categories))
        layers = DetectorLayers(detector, spec.test_proposals)
        return model_cost(_detector(objective), count_multiply_adds(layers, meta_image(size)))

    def _draw(self, detector: Detector, found: Mapping[int, Found], folder: Path) -> Iterable[str]:
        """Draw what was found in the first test images, and where attention looked."""
        device = next(detector.parameters()).device
        for index in range(min(_DRAWN, len(self.corpus.test))):
            sample = self.corpus.test[index]
            picture = detection_picture(sample, found[sample.image_id], self.corpus.categories)
            yield write_picture(folder / f"detection-{sample.image_id}.png", picture)
            shown = self.spec.augmentation.evaluate(sample)
            pixels = detector.preprocess(shown.image.to(device))
            seen = attention_picture(
                detector.network.backbone,
                pixels,
                sample.image,
                at=largest_object(sample),
                covered=_size(shown),
            )
            if seen is not None:
                yield write_picture(folder / f"attention-{sample.image_id}.png", seen)


def _detector(objective: nn.Module) -> Detector:
    return cast("DetectionObjective", objective).detector


def _size(sample: DetectionSample) -> tuple[int, int]:
    return sample.image.shape[1], sample.image.shape[2]
