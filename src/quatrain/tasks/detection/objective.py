"""What a detector is trained by: a batch of images and boxes as tensors, and its losses.

    batch = collated(samples)                  # images padded to one size, and all of their boxes
    loss = DetectionObjective(detector)(**batch)

Shapes: n images, h w the size of the largest, b boxes in all of them.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import pad

from quatrain.models.detector import Detector, Targets
from quatrain.tasks.detection.corpus import DetectionSample
from quatrain.training import Loss


class DetectionObjective(nn.Module):
    """The losses of proposals and heads.

    Crowd boxes are no targets, and what lies in them may be sampled as background, as in
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
        """The mean loss of the images times their number, and that number.

        Args:
            images: Padded on the right and below.
            sizes: Height and width of each without its padding.
            counts: How many of the boxes belong to each.
            boxes: Those of all images, one image after the other.
            labels: Of the boxes.
        """
        own = counts.tolist()
        targets = map(Targets, boxes.split(own), labels.split(own))
        bare = [
            image[:, :height, :width]
            for image, (height, width) in zip(images, sizes.tolist(), strict=True)
        ]
        losses = self.detector.losses(bare, list(targets))
        weight = boxes.new_tensor(float(len(images)))
        return Loss(torch.stack(list(losses.values())).sum() * weight, weight)


def collated(samples: Sequence[DetectionSample]) -> dict[str, Tensor]:
    """Images padded to one size, and the boxes in them that are targets."""
    sizes = torch.tensor([sample.image.shape[1:] for sample in samples])
    height, width = sizes.amax(0).tolist()
    kept = [~sample.crowd for sample in samples]
    wanted = list(zip(samples, kept, strict=True))
    return {
        "images": torch.stack([padded(sample.image, height, width) for sample in samples]),
        "sizes": sizes,
        "counts": torch.stack([each.sum() for each in kept]),
        "boxes": torch.cat([sample.boxes[each] for sample, each in wanted]),
        "labels": torch.cat([sample.labels[each] for sample, each in wanted]),
    }


def padded(image: UInt8[Tensor, "3 _ _"], height: int, width: int) -> UInt8[Tensor, "3 h w"]:
    """The image with black on the right and below."""
    return pad(image, (0, width - image.shape[2], 0, height - image.shape[1]))
