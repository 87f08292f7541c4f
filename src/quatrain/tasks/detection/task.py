"""The detection task: data, objective, evaluation and cost of one run.

    spec = DetectionSpec(data=CocoSpec(), model=DetectorSpec())
    task = spec.open(data=Path("coco"), folder=Path("run"), seed=0)

Shapes: n images, h w the size of the largest, b boxes in all of them.
"""

import functools
import json
import operator
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import pad

from quatrain.cost import count_multiply_adds, model_cost, training_hours
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models.detector import Detector, DetectorLayers, DetectorSpec, Targets
from quatrain.models.frozen_maps import pad_image
from quatrain.results import write_atomically
from quatrain.results.image_scores import write_image_scores
from quatrain.specs import Spec
from quatrain.tasks.detection.augment import DetectionAugmentation, rescale
from quatrain.tasks.detection.corpus import DetectionCorpus, DetectionPart, DetectionSample
from quatrain.tasks.detection.data import DetectionData, read_detection
from quatrain.tasks.detection.detections import Detections
from quatrain.tasks.detection.matches import match_detections
from quatrain.tasks.detection.metric import DetectionMetric
from quatrain.tasks.detection.pictures import detection_picture, largest_object
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.vision import (
    BatchIndices,
    ImageTask,
    attention_picture,
    process_shard,
    sum_over_processes,
)
from quatrain.tasks.vision.parts import most_images
from quatrain.training import Evaluation, Loss, Recipe, Steps

DETECTIONS = "detections.json"

_PRICED_CLASSES = 80


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
        """Read and check the data; the run's folder is not used.

        Raises:
            DataError: if the data cannot be used.
        """
        return DetectionTask(self, read_detection(self.data, data), seed)

    def gpu_hours(self) -> float:
        """Estimated hours of training on one GPU, from multiply-adds; see `training_hours`.

        Images have the aspect ratio 3 to 5, with the number of regions that train the heads. A
        frozen backbone, which computes each image once, is not counted.
        """
        model: Any = self.model  # a frozen model is hashable, which its type does not tell
        forward = _multiply_adds(model, self.augmentation.resized(300, 500))
        return training_hours(forward * self.recipe.steps * self.recipe.accumulate * self.batch)


@functools.cache  # the cells of a study share their models
def _multiply_adds(model: DetectorSpec, size: tuple[int, int]) -> int:
    """The multiply-adds of the trained layers for one image."""
    detector, image = build_on_meta(model, _PRICED_CLASSES), meta_image(size)
    backbone = detector.frozen_backbone
    frozen = 0 if backbone is None else count_multiply_adds(backbone, pad_image(image))
    return count_multiply_adds(DetectorLayers(detector, model.regions_sampled), image) - frozen


class DetectionObjective(nn.Module):
    """The sum of the losses of the proposal network and the heads.

    Crowd boxes are no targets, and regions in them may be sampled as background, as in
    mmdetection's settings.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.1.2.
    """

    def __init__(self, detector: Detector) -> None:
        super().__init__()
        self.detector = detector

    def forward(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        sizes: Int64[Tensor, "n 2"],
        counts: Int64[Tensor, " n"],
        boxes: Float[Tensor, "b 4"],
        labels: Int64[Tensor, " b"],
    ) -> Loss:
        """The mean loss of the images times their number, with that number as weight.

        Args:
            images: Padded on the right and below.
            sizes: Height and width of each image without its padding.
            counts: Number of boxes of each image.
            boxes: The boxes of all images, concatenated.
            labels: The labels of the boxes.
        """
        number = counts.tolist()
        targets = map(Targets, boxes.split(number), labels.split(number))
        unpadded = [
            image[:, :height, :width]
            for image, (height, width) in zip(images, sizes.tolist(), strict=True)
        ]
        losses = self.detector.losses(unpadded, list(targets))
        weight = boxes.new_tensor(float(len(images)))
        return Loss(torch.stack(list(losses.values())).sum() * weight, weight)


def collate(samples: Sequence[DetectionSample]) -> dict[str, Tensor]:
    """Images padded on the right and below to one size, and all of their boxes without crowd."""
    sizes = torch.tensor([sample.image.shape[1:] for sample in samples])
    height, width = sizes.amax(0).tolist()
    targets = [~sample.crowd for sample in samples]
    return {
        "images": torch.stack([_padded(sample.image, height, width) for sample in samples]),
        "sizes": sizes,
        "counts": torch.stack([mask.sum() for mask in targets]),
        "boxes": torch.cat([s.boxes[mask] for s, mask in zip(samples, targets, strict=True)]),
        "labels": torch.cat([s.labels[mask] for s, mask in zip(samples, targets, strict=True)]),
    }


def _padded(image: UInt8[Tensor, "3 _ _"], height: int, width: int) -> UInt8[Tensor, "3 h w"]:
    return pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))


class DetectionTask(ImageTask):
    """The data, objective and metrics of one run."""

    spec: DetectionSpec
    corpus: DetectionCorpus
    rate_unit = "images"

    def build(self) -> DetectionObjective:
        """A new detector with its objective."""
        detector = self.spec.model.build(len(self.corpus.categories))
        if detector.frozen_backbone is not None:
            detector.frozen_backbone.features.limit = most_images(self.corpus)
        return DetectionObjective(detector)

    def collate(self, plan: BatchIndices) -> dict[str, Tensor]:
        """The augmented images of one batch, padded to one size, and their boxes."""
        return collate(self.training_samples(plan))

    def monitor(self, objective: DetectionObjective) -> dict[str, float]:
        """COCO's metrics in percent and the mean loss of the validation part."""
        metric = self.detect(objective.detector, self.corpus.valid)
        scores = {f"valid_{name}": value for name, value in metric.scores().metrics.items()}
        return {"valid_loss": self._loss(objective, self.corpus.valid), **scores}

    def evaluate(self, objective: DetectionObjective, folder: Path) -> Evaluation:
        """COCO's metrics and the AP of each category on the test part, in percent.

        Writes the detections in COCO's format of results, their matches with objects, and pictures
        of the first images.
        """
        detector = objective.detector
        metric = self.detect(detector, self.corpus.test)
        scores = metric.scores()
        results = metric.results(self.corpus.category_ids)
        write_atomically(folder / DETECTIONS, json.dumps(results))
        matches = write_image_scores(folder, match_detections(metric))
        pictures = self.write_pictures(
            folder,
            lambda sample: self._pictures(detector, metric.detections[sample.image_id], sample),
        )
        return Evaluation(
            {**scores.metrics, **scores.category_metrics},
            {"ap": scores.signature},
            (DETECTIONS, *matches, *pictures),
        )

    @torch.no_grad()
    def detect(self, detector: Detector, part: DetectionPart) -> DetectionMetric:
        """The detections of a part; each process computes its shard of the images."""
        metric = DetectionMetric(self.corpus.categories, part.ground_truths)
        device = next(detector.parameters()).device
        for index in process_shard(len(part)):
            sample = part[index]
            resized = self.spec.augmentation.evaluate(sample)
            (detections,) = detector([resized.image.to(device)])
            boxes = rescale(detections.boxes.float(), _size(resized), _size(sample))
            metric.add(sample.image_id, boxes, detections.scores.float(), detections.labels)
        metric.merge(sum_over_processes(metric.detections, operator.or_))
        return metric

    @torch.no_grad()
    def _loss(self, objective: DetectionObjective, part: DetectionPart) -> float:
        """The mean loss of an image; the sampling of anchors and regions is seeded by its index."""
        device = next(objective.parameters()).device
        losses: dict[int, float] = {}
        with torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]):
            for index in process_shard(len(part)):
                torch.manual_seed(index)
                batch = collate([self.spec.augmentation.evaluate(part[index])])
                loss = objective(**{name: value.to(device) for name, value in batch.items()})
                losses[index] = float(loss.total)
        losses = sum_over_processes(losses, operator.or_)
        # Summed in the order of the images, for any number of processes.
        return sum(losses[index] for index in range(len(part))) / len(part)

    def cost(self, objective: DetectionObjective) -> dict[str, float]:
        """Parameters, and multiply-adds of the first test image with all its proposals."""
        first = self.corpus.test.ground_truths[0]
        size = self.spec.augmentation.resized(first.height, first.width)
        spec = self.spec.model
        detector = build_on_meta(spec, len(self.corpus.categories))
        layers = DetectorLayers(detector, spec.test_proposals)
        return model_cost(objective.detector, count_multiply_adds(layers, meta_image(size)))

    def _pictures(
        self, detector: Detector, detections: Detections, sample: DetectionSample
    ) -> dict[str, Image.Image | None]:
        """The detections and the attention of a test image."""
        resized = self.spec.augmentation.evaluate(sample)
        pixels = detector.preprocess(resized.image.to(next(detector.parameters()).device))
        attention = attention_picture(
            detector.network.backbone,
            pixels,
            sample.image,
            at=largest_object(sample),
            covered=_size(resized),
        )
        detected = detection_picture(sample, detections, self.corpus.categories)
        return {"detection": detected, "attention": attention}


def _size(sample: DetectionSample) -> tuple[int, int]:
    return sample.image.shape[1], sample.image.shape[2]
