"""The networks that the paper adds attention to, without it, in our assembly: what they execute.

Detection is ResNet-50, feature pyramid, proposals and box heads of one image of 800 x 1333, which
the detector pads to 800 x 1344; segmentation is ResNet-50 of output stride 8 and the head of CCNet
without its attention, of 768 x 768 pixels: maps of 96 x 96, as in the paper's count.

    multiply_adds("detection")

Shapes: n images, h w their size.
"""

import functools
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

from quatrain.cost import count_multiply_adds
from quatrain.models.resnet import ResNetSpec

VisionTask = Literal["detection", "segmentation"]

SIZES: dict[VisionTask, tuple[int, int]] = {"detection": (800, 1344), "segmentation": (768, 768)}
"""Height and width of the image, in pixels."""


@functools.cache
def multiply_adds(task: VisionTask) -> int:
    """What the network without attention executes for one image, counted on the meta device.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1.
    Differs: the paper does not say what its count of the base network holds; ours is another
        number. The auxiliary head of segmentation, which only training has, is left out.
    """
    with torch.device("meta"):
        network = _Detector() if task == "detection" else _Segmenter()
        return count_multiply_adds(network, torch.empty(1, 3, *SIZES[task]))


class _Detector(nn.Module):
    """Everything of a Faster R-CNN that multiplies: the heads see as many proposals as in tests."""

    anchors, proposals, channels, pooled, hidden, classes = 3, 1000, 256, 7, 1024, 80

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNetSpec().build()
        widths = list(self.backbone.channels.values())
        self.pyramid = FeaturePyramidNetwork(widths, self.channels, LastLevelMaxPool())
        self.propose = RPNHead(self.channels, self.anchors)
        self.head = TwoMLPHead(self.channels * self.pooled**2, self.hidden)
        self.predict = FastRCNNPredictor(self.hidden, self.classes + 1)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> None:
        maps = self.pyramid(self.backbone(images))
        self.propose(list(maps.values()))
        regions = images.new_empty(self.proposals, self.channels, self.pooled, self.pooled)
        self.predict(self.head(regions))


class _Segmenter(nn.Module):
    """The backbone and the convolutions after it, conv5 beside what they make of it."""

    channels, classes = 512, 19

    def __init__(self) -> None:
        super().__init__()
        self.backbone = ResNetSpec(output_stride=8).build()
        width = self.backbone.channels["conv5"]
        self.reduce = nn.Conv2d(width, self.channels, 3, padding=1, bias=False)
        self.refine = nn.Conv2d(self.channels, self.channels, 3, padding=1, bias=False)
        self.join = nn.Conv2d(width + self.channels, self.channels, 3, padding=1, bias=False)
        self.classify = nn.Conv2d(self.channels, self.classes, 1)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> None:
        conv5 = self.backbone(images)["conv5"]
        beside = self.refine(self.reduce(conv5))
        self.classify(self.join(torch.cat((conv5, beside), dim=1)))
