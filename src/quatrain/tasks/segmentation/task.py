"""The segmentation task: data, objective, evaluation and cost of one run.

    spec = SegmentationSpec(data=FoldersSpec(), model=SegmenterSpec(), scale=0.5)
    task = spec.open(data=Path("camvid"), folder=Path("run"), seed=0)

Shapes: n images of size h w.
"""

import functools
from pathlib import Path
from typing import Any, Literal

import torch
from jaxtyping import Float, Int64, UInt8
from PIL import Image
from pydantic import Field, model_validator
from torch import Tensor, nn
from torchvision.transforms.v2 import functional

from quatrain.cost import count_multiply_adds, model_cost, training_hours
from quatrain.cost.count import build_on_meta, meta_image
from quatrain.models.frozen_backbone import Map, is_frozen
from quatrain.models.frozen_segmenter import FrozenSegmenter, FrozenSegmenterSpec
from quatrain.models.resnet import ResNetSpec
from quatrain.models.segmenter import SegmenterSpec, resize_scores
from quatrain.nn.mixers import Mixer
from quatrain.ops.resized_cross_entropy import resized_cross_entropy
from quatrain.results.image_scores import write_image_scores
from quatrain.specs import Spec
from quatrain.tasks.digit_scenes import DigitScenesSpec
from quatrain.tasks.segmentation.augment import SegmentationAugmentation
from quatrain.tasks.segmentation.corpus import (
    IGNORE,
    SegmentationCorpus,
    SegmentationPart,
    SegmentationSample,
)
from quatrain.tasks.segmentation.data import SegmentationData, read_segmentation
from quatrain.tasks.segmentation.frozen import (
    AnySegmenter,
    SegmentationModel,
    check_crop,
    check_images,
)
from quatrain.tasks.segmentation.inference import Testing, WholeImageSpec
from quatrain.tasks.segmentation.metric import ConfusionMatrix, SegmentationScores
from quatrain.tasks.segmentation.pictures import object_pixel, segmentation_picture
from quatrain.tasks.vision import (
    BatchIndices,
    ImageTask,
    attention_picture,
    process_shard,
    sum_over_processes,
)
from quatrain.tasks.vision.image_task import small_recipe
from quatrain.tasks.vision.parts import most_images
from quatrain.training import Evaluation, Loss, Polynomial, Recipe

_PRICED_CLASSES = 19


class SegmentationSpec(Spec):
    """A segmentation experiment; the defaults are the paper's, on digit scenes.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1; the weight of the
        auxiliary loss as Zhao et al. 2017, https://arxiv.org/abs/1612.01105, section 3.3.
    """

    kind: Literal["segmentation"] = "segmentation"
    data: SegmentationData = DigitScenesSpec()
    model: SegmentationModel = SegmenterSpec()
    augmentation: SegmentationAugmentation = SegmentationAugmentation()
    recipe: Recipe = Recipe(
        steps=60_000,
        optimizer="sgd",
        learning_rate=0.005,
        momentum=0.9,
        weight_decay=1e-4,
        warmup_steps=0,
        schedule=Polynomial(power=0.9),
    )
    batch: int = Field(default=8, ge=1)
    """Images of a training batch."""
    auxiliary_weight: float = Field(default=0.4, ge=0)
    """The weight of the auxiliary head's loss."""
    scale: float = Field(default=1.0, gt=0)
    """Scale factor of all images; scores are computed on labels of the original size."""
    testing: Testing = WholeImageSpec()
    """Inference on held-out images."""

    @model_validator(mode="after")
    def _check_images_of_frozen_model(self) -> "SegmentationSpec":
        if is_frozen(self.model):
            check_images(self.augmentation, self.testing)
        return self

    def open(self, data: Path | None, folder: Path, seed: int) -> "SegmentationTask":  # noqa: ARG002
        """Read and check the data; the run's folder is not used.

        Raises:
            DataError: if the data cannot be used.
            SpecError: if a frozen backbone would get random crops.
        """
        return SegmentationTask(self, read_segmentation(self.data, data), seed)

    def gpu_hours(self) -> float:
        """Estimated hours of training on one GPU, from multiply-adds; see `training_hours`.

        Images are crops. The auxiliary head is not counted, and neither is a frozen backbone, which
        computes each image once.
        """
        model: Any = self.model  # a frozen model is hashable, which its type does not tell
        forward = _multiply_adds(model, self.augmentation.crop_size)
        return training_hours(forward * self.recipe.steps * self.recipe.accumulate * self.batch)


@functools.cache  # the cells of a study share their models
def _multiply_adds(model: SegmenterSpec | FrozenSegmenterSpec, size: tuple[int, int]) -> int:
    """The multiply-adds of the trained layers for one crop."""
    segmenter, image = build_on_meta(model, _PRICED_CLASSES), meta_image(size)
    frozen = count_multiply_adds(segmenter.backbone, image) if is_frozen(model) else 0
    return count_multiply_adds(segmenter, image) - frozen


def small_segmentation(
    mixer: Mixer | None,
    data: SegmentationData,
    *,
    steps: int,
    scale: float = 0.5,
    crop: int = 192,
    monitor_every: int = 0,
) -> SegmentationSpec:
    """The small segmenter with a mixer in its backbone, trained for `steps` batches of 8 images.

    Differences from the paper: ResNet-18 of half the width instead of ResNet-50, 128 head channels
    instead of 512, half the image size, crops of 192 pixels instead of 769, and Adam instead of
    SGD, since weights are not pretrained.

    Args:
        mixer: The mixer of the backbone: attention or dynamic convolution is added in conv4, in
            conv5 and after it, another convolution replaces the 3 x 3 of conv3 to conv5; None for
            the plain network.
        data: The data; the default sizes suit street scenes of 480 x 360.
        steps: Optimizer steps, a tenth of which warms up, 100 at most.
        scale: Factor on the size of all images.
        crop: Height and width of training crops, in pixels of the scaled images.
        monitor_every: Steps between validations; 0 for none.
    """
    return SegmentationSpec(
        data=data,
        model=SegmenterSpec(
            backbone=ResNetSpec(depth=18, width=32, mixer=mixer, output_stride=8),
            channels=128,
            norm="batch",
        ),
        augmentation=SegmentationAugmentation(smallest=0.8, largest=1.6, crop=crop),
        recipe=small_recipe(steps, longest_warmup=100, monitor_every=monitor_every),
        scale=scale,
    )


def frozen_segmentation(
    mixer: Mixer | None,
    data: SegmentationData,
    *,
    steps: int,
    scale: float = 1.0,
    crop: int | tuple[int, int] = (360, 480),
    maps: tuple[Map, ...] = ("conv4", "conv5"),
    monitor_every: int = 0,
) -> SegmentationSpec:
    """The segmenter on a frozen backbone, whose head is trained for `steps` batches of 8 images.

    Differences from the paper: EfficientNet-Lite0 instead of ResNet-50, of which no layer is
    trained, a head of 96 channels instead of 512, one mixer instead of one in each block, images
    that are neither scaled nor cropped at random, and Adam instead of SGD. In 400 steps without a
    mixer the learning rate of 3e-3 reached 63.0 mIoU on the validation part of CamVid, 1e-3 59.7.

    Args:
        mixer: The mixer of the head; None for the plain network.
        data: The data; the default sizes suit street scenes of 480 x 360.
        steps: Optimizer steps, a tenth of which warms up, 100 at most.
        scale: Factor on the size of all images.
        crop: Height and width of the scaled images; smaller ones are padded.
        maps: The maps of the backbone that the head reads, the finest first.
        monitor_every: Steps between validations; 0 for none.
    """
    return SegmentationSpec(
        data=data,
        model=FrozenSegmenterSpec(maps=maps, mixer=mixer),
        augmentation=SegmentationAugmentation(smallest=1, largest=1, crop=crop),
        recipe=small_recipe(
            steps, longest_warmup=100, monitor_every=monitor_every, learning_rate=3e-3
        ),
        scale=scale,
    )


class SegmentationObjective(nn.Module):
    """Pixel-wise cross entropy, in training with that of the auxiliary head.

    Source: Zhao et al. 2017, https://arxiv.org/abs/1612.01105, section 3.3.
    """

    def __init__(self, segmenter: AnySegmenter, auxiliary_weight: float) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.auxiliary_weight = auxiliary_weight

    def forward(self, images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n h w"]) -> Loss:
        """The loss summed over the pixels that are not ignored, and their number."""
        # If all pixels are ignored, the loss of zero must not be divided by zero.
        scored = (labels != IGNORE).sum().clamp(min=1).float()
        main, auxiliary = self.segmenter.scores(images)
        total = resized_cross_entropy(main, labels, IGNORE)
        if auxiliary is not None:
            total = total + self.auxiliary_weight * resized_cross_entropy(auxiliary, labels, IGNORE)
        return Loss(total, scored)


class SegmentationTask(ImageTask):
    """The data, objective and metrics of one run."""

    spec: SegmentationSpec
    corpus: SegmentationCorpus
    rate_unit = "pixels"

    def __init__(self, spec: SegmentationSpec, corpus: SegmentationCorpus, seed: int) -> None:
        super().__init__(spec, corpus, seed)
        # The scale factor is applied together with the augmentation, in one resize.
        factors = {
            name: spec.scale * getattr(spec.augmentation, name) for name in ("smallest", "largest")
        }
        self.augmentation = spec.augmentation.model_copy(update=factors)
        if is_frozen(spec.model):
            check_crop(self.augmentation, corpus.train.sizes)

    def build(self) -> SegmentationObjective:
        """A new segmenter with its objective."""
        segmenter = self.spec.model.build(len(self.corpus.classes))
        if isinstance(segmenter, FrozenSegmenter):
            segmenter.backbone.features.limit = most_images(self.corpus)
        return SegmentationObjective(segmenter, self.spec.auxiliary_weight)

    def collate(self, plan: BatchIndices) -> dict[str, Tensor]:
        """The augmented images and labels of one batch."""
        samples = self.training_samples(plan)
        return {
            "images": torch.stack([sample.image for sample in samples]),
            "labels": torch.stack([sample.label for sample in samples]),
        }

    def monitor(self, objective: SegmentationObjective) -> dict[str, float]:
        """The metrics of the validation part."""
        scores = self.score(objective.segmenter, self.corpus.valid)
        return {f"valid_{name}": value for name, value in scores.metrics.items()}

    def evaluate(self, objective: SegmentationObjective, folder: Path) -> Evaluation:
        """mIoU, pixel accuracy and the IoU of each class on the test part, in percent.

        Writes the counts of pixels of each image, and pictures of the predictions for the first
        images.
        """
        segmenter = objective.segmenter
        matrix = self.count(segmenter, self.corpus.test)
        scores = matrix.scores(self.class_names)
        counts = write_image_scores(folder, matrix.pixel_counts(self.class_names))
        pictures = self.write_pictures(folder, lambda sample: self._pictures(segmenter, sample))
        return Evaluation(scores.metrics, {"miou": scores.signature}, (*counts, *pictures))

    @property
    def class_names(self) -> list[str]:
        """The names of the classes, in order."""
        return [entry.name for entry in self.corpus.classes]

    def score(self, segmenter: AnySegmenter, part: SegmentationPart) -> SegmentationScores:
        """The scores of a part; each process predicts its shard of the images."""
        return self.count(segmenter, part).scores(self.class_names)

    @torch.no_grad()
    def count(self, segmenter: AnySegmenter, part: SegmentationPart) -> ConfusionMatrix:
        """The pixels of a part by class; each process predicts its shard of the images."""
        matrix = ConfusionMatrix(len(self.corpus.classes))
        for index in process_shard(len(part)):
            sample = part[index]
            matrix.add(sample.image_id, self.predict(segmenter, sample), sample.label)
        return sum_over_processes(matrix)

    @torch.no_grad()
    def predict(self, segmenter: AnySegmenter, sample: SegmentationSample) -> Int64[Tensor, "h w"]:
        """The class of each pixel of a held-out image, in the size of its label."""
        height, width = sample.label.shape
        return resize_scores(self.logits(segmenter, sample.image), (height, width)).argmax(1)[0]

    def logits(
        self, segmenter: AnySegmenter, image: UInt8[Tensor, "3 h w"]
    ) -> Float[Tensor, "1 c y x"]:
        """The logits for a held-out image, in the size of the scaled image."""
        return self.spec.testing.logits(segmenter, self._scaled_image(segmenter, image))

    def cost(self, objective: SegmentationObjective) -> dict[str, float]:
        """Parameters, and multiply-adds of one network input of the first test image."""
        segmenter = build_on_meta(self.spec.model, len(self.corpus.classes))
        size = self.spec.testing.input_size(self._scaled_size(self.corpus.test[0].image))
        return model_cost(objective.segmenter, count_multiply_adds(segmenter, meta_image(size)))

    def _pictures(
        self, segmenter: AnySegmenter, sample: SegmentationSample
    ) -> dict[str, Image.Image | None]:
        """The prediction and the attention of a test image.

        Attention is computed on the whole image, also if inference is by tiles.
        """
        prediction = self.predict(segmenter, sample).cpu()
        pixels = self._scaled_image(segmenter, sample.image)
        at = object_pixel(sample.label)
        return {
            "segmentation": segmentation_picture(sample, prediction, self.corpus.classes),
            "attention": attention_picture(segmenter, pixels, sample.image, at=at),
        }

    def _scaled_image(
        self, segmenter: AnySegmenter, image: UInt8[Tensor, "3 h w"]
    ) -> UInt8[Tensor, "1 3 y x"]:
        """A held-out image, scaled, as a batch of one on the segmenter's device."""
        size = self._scaled_size(image)
        if size != (image.shape[1], image.shape[2]):
            image = functional.resize(image, list(size), antialias=True)
        return image[None].to(next(segmenter.parameters()).device)

    def _scaled_size(self, image: UInt8[Tensor, "3 h w"]) -> tuple[int, int]:
        """Height and width of an image after scaling."""
        height, width = (max(round(side * self.spec.scale), 1) for side in image.shape[1:])
        return height, width
