"""The detector: torchvision's Faster R-CNN with a feature pyramid on the attended ResNet.

    detector = DetectorSpec(backbone=ResNetSpec(mixer=mixer)).build(classes=80)
    detector.train().losses(images, targets)   # the four losses of a batch, by name
    detector.eval()(images)                    # Detections of each image

    conv2 ... conv5 -> pyramid -> proposals -> RoIAlign -> class and box of each

Shapes: an image is h high and w wide, with n boxes; images of a batch may differ in size.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int64, UInt8
from pydantic import Field
from torch import Tensor, nn

from quatrain.models.normalize import normalize_images
from quatrain.models.resnet import STAGES, ResNetSpec, normalization
from quatrain.nn.modes import restored_modes
from quatrain.ops.precision import upcast
from quatrain.specs import Spec, name_missing_extra

with name_missing_extra():
    from torchvision.models.detection import FasterRCNN
    from torchvision.models.detection.anchor_utils import AnchorGenerator
    from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
    from torchvision.models.detection.rpn import RPNHead
    from torchvision.models.detection.transform import GeneralizedRCNNTransform
    from torchvision.ops import FeaturePyramidNetwork, MultiScaleRoIAlign
    from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

_POOLED = 7
_SAMPLES = 2


class DetectorSpec(Spec):
    """A detector; the defaults are the paper's, without its weights from ImageNet.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1, and mmdetection's
        settings, which it shares.
    """

    revision: ClassVar[int] = 2
    backbone: ResNetSpec = ResNetSpec(norm="eval", frozen_stages=2)
    """The residual network, and the mixer in its blocks; conv2 is frozen, which mmdetection calls
    its first stage, and the others normalize by statistics that stay."""
    channels: int = Field(default=256, ge=1)
    """Width of the pyramid."""
    norm: Literal["none", "group"] = "none"
    """Normalization of the pyramid's convolutions."""
    anchor_scale: float = Field(default=8, gt=0)
    """Side of a square anchor, as a multiple of the stride of its map."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of the anchors at each position."""
    anchors_sampled: int = Field(default=256, ge=1)
    """Anchors an image that the proposals are trained by, at most half of them on objects."""
    train_proposals: int = Field(default=2000, ge=1)
    """Proposals of each map before suppression, and of an image after it, while training."""
    test_proposals: int = Field(default=1000, ge=1)
    """The same on held-out images."""
    proposal_overlap: float = Field(default=0.7, gt=0, le=1)
    """IoU above which the lower-scored of two proposals is suppressed."""
    regions_sampled: int = Field(default=512, ge=1)
    """Proposals an image that the heads are trained by, at most a quarter of them on objects."""
    head_channels: int = Field(default=1024, ge=1)
    """Width of the two layers before class and box."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """What is scored lower is not found."""
    overlap: float = Field(default=0.5, gt=0, le=1)
    """IoU above which the lower-scored of two detections of a class is suppressed."""
    detections: int = Field(default=100, ge=1)
    """The most that is found in an image."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of an image for one of each map of the pyramid, the finest first."""
        maps = [min(2**stage, self.backbone.output_stride) for stage in STAGES]
        return (*maps, 2 * maps[-1])

    def build(self, classes: int) -> "Detector":
        """The network for labels 1 ... `classes`, with weights from torch's random state."""
        return Detector(self, classes)


class Targets(NamedTuple):
    """What is to be found in an image: boxes x0 y0 x1 y1 in its pixels, labels 1 ... C."""

    boxes: Float[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]


class Detections(NamedTuple):
    """What was found in an image, the highest score first."""

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]


class Detector(nn.Module):
    """Boxes and classes of the objects in images, at the size in which they are given.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497; Lin et al. 2017,
        https://arxiv.org/abs/1612.03144.
    Differs: as torchvision's, where mmdetection's settings have it otherwise: both box losses bend
        at 1/9, not the second at 1; anchors across the border of an image learn too; the best
        anchor of an object is taken whatever their IoU, not from 0.3 on.
    """

    def __init__(self, spec: DetectorSpec, classes: int) -> None:
        super().__init__()
        self.spec, self.classes = spec, classes
        # Drawn before the backbone, which takes more random numbers for some mixers than others.
        seed = int(torch.randint(2**62, (), device="cpu"))
        backbone = spec.backbone.build()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pyramid = _Pyramid(backbone, spec)
            self.network = _faster_rcnn(pyramid, spec, classes)

    def forward(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> list[Detections]:
        """What is found in each image, in evaluation."""
        found = self.network(list(images))
        return [Detections(each["boxes"], each["scores"], each["labels"]) for each in found]

    def losses(
        self, images: Sequence[UInt8[Tensor, "3 _ _"]], targets: Sequence[Targets]
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses of proposals and heads by torchvision's names, in training and in evaluation.

        Each is a mean over what torch's random numbers sampled from all images.
        """
        named = [target._asdict() for target in targets]
        network = self.network
        with restored_modes(network):  # torchvision's parts give losses in training mode only
            network.training = network.rpn.training = network.roi_heads.training = True
            return network(list(images), named)

    def padded(self, image: UInt8[Tensor, "3 h w"]) -> Float[Tensor, "1 3 y x"]:
        """The image as the backbone gets it: normalized, zeros on the right and below."""
        batch, _ = self.network.transform([image])
        return batch.tensors


class DetectorLayers(nn.Module):
    """All layers of a detector and no choice: what can be counted on tensors of sizes alone.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.
    Differs: the heads see `proposals` regions of nothing, however many would have been proposed.
    """

    def __init__(self, detector: Detector, proposals: int) -> None:
        super().__init__()
        self.detector, self.proposals = detector, proposals

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> None:
        """Compute maps, anchors' scores and heads."""
        network: Any = self.detector.network
        maps = network.backbone(normalize_images(images))
        network.rpn.head(list(maps.values()))
        heads = network.roi_heads
        channels = self.detector.spec.channels
        regions = maps["pool"].new_empty(self.proposals, channels, _POOLED, _POOLED)
        heads.box_predictor(heads.box_head(regions))


class _Pyramid(nn.Module):
    """The maps of the residual network, made equally wide, and one that is coarser yet.

    They are exact, as what the two heads say is: torchvision makes anchors, proposals and targets
    in the type of maps and codes, and of an image's 1,333 pixels bfloat16 tells every eighth only.
    """

    def __init__(self, body: nn.Module, spec: DetectorSpec) -> None:
        super().__init__()
        self.body = body
        self.out_channels = spec.channels
        self.fpn = FeaturePyramidNetwork(
            list(cast("dict[str, int]", body.channels).values()),
            spec.channels,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=normalization("group") if spec.norm == "group" else None,
        )

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Tensor]:
        return {name: upcast(found) for name, found in self.fpn(self.body(images)).items()}


class _ProposalHead(RPNHead):
    """torchvision's, exact enough for coordinates; see `_Pyramid`."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, codes = super().forward(x)
        return [upcast(each) for each in scores], [upcast(each) for each in codes]


class _Predictor(FastRCNNPredictor):
    """torchvision's, exact enough for coordinates; see `_Pyramid`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, codes = super().forward(x)
        return upcast(scores), upcast(codes)


class _AsGiven(GeneralizedRCNNTransform):
    """Normalize bytes and pad images; their sizes are the caller's affair."""

    def __init__(self) -> None:
        super().__init__(0, 0, [], [])

    def normalize(self, image: Tensor) -> Tensor:
        return normalize_images(image[None])[0]

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def _faster_rcnn(pyramid: _Pyramid, spec: DetectorSpec, classes: int) -> FasterRCNN:
    network = FasterRCNN(
        pyramid,
        rpn_anchor_generator=AnchorGenerator(
            tuple((round(spec.anchor_scale * stride),) for stride in spec.strides),
            (spec.anchor_ratios,) * len(spec.strides),
        ),
        rpn_pre_nms_top_n_train=spec.train_proposals,
        rpn_pre_nms_top_n_test=spec.test_proposals,
        rpn_post_nms_top_n_train=spec.train_proposals,
        rpn_post_nms_top_n_test=spec.test_proposals,
        rpn_nms_thresh=spec.proposal_overlap,
        rpn_batch_size_per_image=spec.anchors_sampled,
        box_roi_pool=MultiScaleRoIAlign(["conv2", "conv3", "conv4", "conv5"], _POOLED, _SAMPLES),
        box_head=TwoMLPHead(spec.channels * _POOLED**2, spec.head_channels),
        box_predictor=_Predictor(spec.head_channels, classes + 1),
        rpn_head=_ProposalHead(spec.channels, len(spec.anchor_ratios)),
        box_score_thresh=spec.score_threshold,
        box_nms_thresh=spec.overlap,
        box_detections_per_img=spec.detections,
        box_batch_size_per_image=spec.regions_sampled,
    )
    network.transform = _AsGiven()
    return network
