"""The small detector and segmenter, built from torchvision's parts.

Layers and sizes are those of our small recipes on a ResNet-18 of full width, the only width that
torchvision has. Each returns the loss of a batch as our tasks collate it.

Shapes: n images, h w their size, b boxes in all of them.
"""

from functools import partial
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, interpolate
from torchvision.models import resnet18
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.transforms.v2 import functional

from quatrain.models.detector import DetectorSpec
from quatrain.models.segmenter import SegmenterSpec

_MEAN, _DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
_WIDTHS = [64, 128, 256, 512]
_AUXILIARY = 0.4
_IGNORE = 255


class PlainDetector(nn.Module):
    """torchvision's Faster R-CNN with its feature pyramid on its ResNet-18."""

    def __init__(self, spec: DetectorSpec, classes: int, longer: int) -> None:
        super().__init__()
        norm = partial(nn.GroupNorm, 32)
        pyramid = BackboneWithFPN(
            resnet18(norm_layer=norm),
            {f"layer{number + 1}": str(number) for number in range(4)},
            _WIDTHS,
            spec.channels,
            norm_layer=norm,
        )
        anchor_sizes = tuple((int(spec.anchor_scale * stride),) for stride in (4, 8, 16, 32, 64))
        self.network = FasterRCNN(
            pyramid,
            min_size=longer,
            max_size=longer,
            rpn_anchor_generator=AnchorGenerator(
                anchor_sizes, (spec.anchor_ratios,) * len(anchor_sizes)
            ),
            rpn_pre_nms_top_n_train=spec.train_proposals,
            rpn_post_nms_top_n_train=spec.train_proposals,
            rpn_batch_size_per_image=spec.anchors_sampled,
            box_batch_size_per_image=spec.regions_sampled,
            box_head=TwoMLPHead(spec.channels * 7 * 7, spec.head_channels),
            box_predictor=FastRCNNPredictor(spec.head_channels, classes + 1),
        )

    def forward(
        self,
        images: UInt8[Tensor, "n 3 h w"],
        sizes: Int64[Tensor, "n 2"],  # noqa: ARG002 - all images have one size
        counts: Int64[Tensor, " n"],
        boxes: Float[Tensor, "b 4"],
        labels: Int64[Tensor, " b"],
    ) -> Float[Tensor, ""]:
        """The sum of the four detection losses."""
        each = counts.tolist()
        targets = [
            {"boxes": own, "labels": names}
            for own, names in zip(boxes.split(each), labels.split(each), strict=True)
        ]
        losses: Any = self.network(list(images.float() / 255), targets)
        return torch.stack(list(losses.values())).sum()


class PlainSegmenter(nn.Module):
    """torchvision's ResNet-18, dilated to stride 8, with segmentation heads."""

    def __init__(self, spec: SegmenterSpec, classes: int) -> None:
        super().__init__()
        network = resnet18()
        for layer, dilation in ((network.layer3, 2), (network.layer4, 4)):
            for part in layer.modules():
                if isinstance(part, nn.Conv2d):
                    part.stride = (1, 1)
                    if part.kernel_size == (3, 3):
                        part.dilation = part.padding = (dilation, dilation)
        self.backbone = IntermediateLayerGetter(network, {"layer3": "conv4", "layer4": "conv5"})
        width = spec.channels
        self.enter = nn.Sequential(_layer(_WIDTHS[3], width), _layer(width, width))
        self.join = nn.Sequential(
            _layer(_WIDTHS[3] + width, width),
            nn.Dropout(spec.dropout),
            nn.Conv2d(width, classes, 1),
        )
        self.auxiliary = nn.Sequential(
            _layer(_WIDTHS[2], width), nn.Dropout(spec.dropout), nn.Conv2d(width, classes, 1)
        )

    def forward(
        self, images: UInt8[Tensor, "n 3 h w"], labels: Int64[Tensor, "n h w"]
    ) -> Float[Tensor, ""]:
        """The mean loss per pixel plus the weighted loss of the auxiliary head."""
        maps = self.backbone(functional.normalize(images.float() / 255, _MEAN, _DEVIATION))
        conv5 = maps["conv5"]
        main = self.join(torch.cat((conv5, self.enter(conv5)), dim=1))
        auxiliary = self.auxiliary(maps["conv4"])
        return _loss(main, labels) + _AUXILIARY * _loss(auxiliary, labels)


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


def _loss(scores: Tensor, labels: Tensor) -> Tensor:
    logits = interpolate(scores, labels.shape[1:], mode="bilinear")
    return cross_entropy(logits, labels, ignore_index=_IGNORE)
