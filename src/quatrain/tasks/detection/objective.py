"""The training objective of a detector, and the collation of its batches.

    batch = collate(samples)      # images padded to one size, and all of their boxes
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
    """Images padded on the right and below to one size, and their boxes without crowd."""
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
