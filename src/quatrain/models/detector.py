"""Detector: torchvision's Faster R-CNN with a feature pyramid, on a ResNet or a frozen backbone.

    detector = DetectorSpec(backbone=ResNetSpec(mixer=mixer)).build(classes=80)
    detector.train().losses(images, targets)   # the four losses of a batch, by name
    detector.eval()(images)                    # Detections of each image

    conv2 ... conv5 -> pyramid -> proposals -> RoIAlign -> class and box per proposal

On a frozen backbone the mixer is in the pyramid, and all but the backbone is trained:

    DetectorSpec(backbone=FrozenBackboneSpec(), pyramid_mixer=mixer)

Shapes: an image is h high and w wide, with n boxes; images of a batch may differ in size.
"""

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, cast

import torch
from jaxtyping import Float, Int64, Shaped, UInt8
from pydantic import Discriminator, Field, Tag, model_validator
from torch import Tensor, nn

from quatrain.insertion import insert, replace
from quatrain.models.frozen_backbone import FrozenBackbone, FrozenBackboneSpec, is_frozen
from quatrain.models.frozen_maps import FrozenMaps, with_mask
from quatrain.models.regions import AlignedRegions, ExactAnchors
from quatrain.models.resnet import STAGES, ResNetSpec, norm_layer, normalize_images
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.modes import restored_modes
from quatrain.ops.precision import upcast
from quatrain.specs import Spec, name_missing_extra
from quatrain.weights import SavedModule

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
_MAPS = ["conv2", "conv3", "conv4", "conv5"]
_INSERTED_MAPS = ("conv4", "conv5")
_REPLACED_MAPS = ("conv3", "conv4", "conv5")

Backbone = Annotated[
    Annotated[ResNetSpec, Tag("ResNetSpec")]
    | Annotated[FrozenBackboneSpec, Tag("FrozenBackboneSpec")],
    Discriminator(lambda spec: "FrozenBackboneSpec" if is_frozen(spec) else "ResNetSpec"),
]
"""The spec of a backbone; a dictionary without the kind "frozen" is a `ResNetSpec`."""


class DetectorSpec(Spec):
    """A detector; the defaults are the paper's, without weights from ImageNet.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, section 4.1, whose settings are
        mmdetection's.
    """

    revision: ClassVar[int] = 2
    backbone: Backbone = ResNetSpec(norm="eval", frozen_stages=2)
    """The residual network, and the mixer in its blocks; conv2 (mmdetection's stage 1) is frozen,
    and batch statistics are fixed. Or a frozen network, which computes each image once."""
    channels: int = Field(default=256, ge=1)
    """Width of the pyramid."""
    norm: Literal["none", "group"] = "none"
    """Normalization of the pyramid's convolutions."""
    pyramid_mixer: Mixer | None = None
    """The mixer of the pyramid: attention or dynamic convolution follows the 1 x 1 of conv4 and of
    conv5, another convolution replaces the 3 x 3 of conv3 to conv5."""
    anchor_scale: float = Field(default=8, gt=0)
    """Side of a square anchor, as a multiple of the stride of its map."""
    anchor_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    """Height over width of the anchors at each position."""
    geometry: Literal["torchvision", "mmdetection"] = "torchvision"
    """Anchors and RoIAlign: anchors rounded to pixels, spaced by the ratio of image to map, and
    regions shifted by half a pixel ("torchvision"); or exact, as weights of mmdetection need it."""
    anchors_sampled: int = Field(default=256, ge=1)
    """Anchors per image in the loss of the proposals, at most half of them on objects."""
    train_proposals: int = Field(default=2000, ge=1)
    """Proposals per map before suppression, and per image after it, in training."""
    test_proposals: int = Field(default=1000, ge=1)
    """The same in evaluation."""
    proposal_overlap: float = Field(default=0.7, gt=0, le=1)
    """IoU above which the lower-scored of two proposals is suppressed."""
    regions_sampled: int = Field(default=512, ge=1)
    """Proposals per image in the loss of the heads, at most a quarter of them on objects."""
    head_channels: int = Field(default=1024, ge=1)
    """Width of the two layers before class and box."""
    score_threshold: float = Field(default=0.05, ge=0, lt=1)
    """Detections with a lower score are dropped."""
    overlap: float = Field(default=0.5, gt=0, le=1)
    """IoU above which the lower-scored of two detections of a class is suppressed."""
    detections: int = Field(default=100, ge=1)
    """Maximum number of detections per image."""

    @model_validator(mode="after")
    def _check_channels(self) -> "DetectorSpec":
        for mixer in split_mixer(self.pyramid_mixer):
            if mixer is not None:
                mixer.check_channels(self.channels, ndim=2)
        return self

    @property
    def strides(self) -> tuple[int, ...]:
        """Strides of the maps of the pyramid in pixels, the finest first."""
        maps = [min(2**stage, self.backbone.output_stride) for stage in STAGES]
        return (*maps, 2 * maps[-1])

    def build(self, classes: int) -> "Detector":
        """Create the network for labels 1 to `classes`; weights from torch's random state.

        Raises:
            MissingPackageError: if the packages of a frozen backbone are not installed.
            DataError: if the file of its weights is missing, damaged or another one.
        """
        return Detector(self, classes)


class Targets(NamedTuple):
    """The objects of an image: boxes x0 y0 x1 y1 in pixels, labels 1 to C."""

    boxes: Float[Tensor, "n 4"]
    labels: Int64[Tensor, " n"]


class Detections(NamedTuple):
    """The detections of an image, highest score first."""

    boxes: Float[Tensor, "n 4"]
    scores: Float[Tensor, " n"]
    labels: Int64[Tensor, " n"]


class Detector(SavedModule):
    """Faster R-CNN on uint8 images, which are not resized.

    The weights of a frozen backbone are not saved with it; they are read again when it is loaded.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497; Lin et al. 2017,
        https://arxiv.org/abs/1612.03144.
    Differs: torchvision differs from mmdetection's settings: both smooth L1 losses have beta 1/9,
        not the second 1; anchors across the border of an image are trained too; the best anchor of
        an object is positive at any IoU, not from 0.3 on.
    """

    spec_class: ClassVar[type[Spec]] = DetectorSpec
    spec: DetectorSpec

    def __init__(self, spec: DetectorSpec, classes: int) -> None:
        super().__init__()
        self.spec = spec
        self.classes = classes
        # Drawn before the backbone, whose mixers draw different amounts of random numbers.
        seed = int(torch.randint(2**62, (), device="cpu"))
        backbone = spec.backbone.build()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            frozen = isinstance(backbone, FrozenBackbone)
            pyramid = _Pyramid(FrozenMaps(backbone) if frozen else backbone, spec, seed)
            self.network: Any = _faster_rcnn(pyramid, spec, classes)
            self.network.transform = _PrepareAndPad(with_mask if frozen else normalize_images)

    def _build_arguments(self) -> dict[str, int]:
        return {"classes": self.classes}

    @property
    def frozen_backbone(self) -> FrozenBackbone | None:
        """The backbone that computes each image once; None for a residual network."""
        body = self.network.backbone.body
        return body.backbone if isinstance(body, FrozenMaps) else None

    def forward(self, images: Sequence[UInt8[Tensor, "3 _ _"]]) -> list[Detections]:
        """The detections of each image, in evaluation mode."""
        outputs = self.network(list(images))
        return [Detections(*(output[name] for name in Detections._fields)) for output in outputs]

    def losses(
        self, images: Sequence[UInt8[Tensor, "3 _ _"]], targets: Sequence[Targets]
    ) -> dict[str, Float[Tensor, ""]]:
        """The losses of proposals and heads, by torchvision's names, in training and evaluation.

        Each is a mean over the anchors or proposals that are sampled from all images.
        """
        dictionaries = [target._asdict() for target in targets]
        network = self.network
        with restored_modes(network):  # torchvision computes losses in training mode only
            network.training = network.rpn.training = network.roi_heads.training = True
            return network(list(images), dictionaries)

    def preprocess(self, image: UInt8[Tensor, "3 h w"]) -> Shaped[Tensor, "1 _ y x"]:
        """The input of the backbone, with zeros on the right and below.

        It is normalized, or for a frozen backbone has a mask as its fourth channel.
        """
        batch, _ = self.network.transform([image])
        return batch.tensors


class DetectorLayers(nn.Module):
    """All layers of a detector without selection of proposals, to count on the meta device.

    Source: Ren et al. 2015, https://arxiv.org/abs/1506.01497, section 3.
    Differs: the heads get a fixed number of empty regions instead of proposals.
    """

    def __init__(self, detector: Detector, proposals: int) -> None:
        super().__init__()
        self.detector = detector
        self.proposals = proposals

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> None:
        """Compute maps, anchor scores and heads."""
        network: Any = self.detector.network
        maps = network.backbone(network.transform.prepare(images))
        network.rpn.head(list(maps.values()))
        heads = network.roi_heads
        channels = self.detector.spec.channels
        regions = maps["pool"].new_empty(self.proposals, channels, _POOLED, _POOLED)
        heads.box_predictor(heads.box_head(regions))


class _Pyramid(nn.Module):
    """Feature pyramid on the backbone, with one coarser map.

    Its maps, and the outputs of the two heads, are float32: torchvision computes anchors, proposals
    and targets in their type, and near 1,333 pixels bfloat16 has a resolution of 8 pixels.
    """

    def __init__(self, body: nn.Module, spec: DetectorSpec, seed: int) -> None:
        super().__init__()
        self.body = body
        self.out_channels = spec.channels
        channels = cast("dict[str, int]", body.channels)
        self.fpn = FeaturePyramidNetwork(
            list(channels.values()),
            spec.channels,
            extra_blocks=LastLevelMaxPool(),
            norm_layer=norm_layer("group") if spec.norm == "group" else None,
        )
        _add_mixer(self.fpn, spec.pyramid_mixer, channels, seed)

    def forward(self, images: Shaped[Tensor, "n _ h w"]) -> dict[str, Tensor]:
        return {name: upcast(x) for name, x in self.fpn(self.body(images)).items()}


def _add_mixer(
    fpn: FeaturePyramidNetwork, mixer: Mixer | None, channels: Mapping[str, int], seed: int
) -> None:
    """Insert attention or dynamic convolution into a pyramid, or replace its 3 x 3s, or both."""
    convolution, attention = split_mixer(mixer)
    if convolution is not None:
        for name in _REPLACED_MAPS:
            replace(fpn, convolution, at=f"layer_blocks.{_MAPS.index(name)}.0", seed=seed)
    if attention is None:
        return
    device = next(fpn.parameters()).device
    maps = OrderedDict(
        (name, torch.zeros(1, width, 4, 4, device=device)) for name, width in channels.items()
    )
    for name in _INSERTED_MAPS:
        insert(
            fpn, attention, after=f"inner_blocks.{_MAPS.index(name)}", example=(maps,), seed=seed
        )


class _ProposalHead(RPNHead):
    """torchvision's head with float32 outputs; see `_Pyramid`."""

    def forward(self, x: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        scores, codes = super().forward(x)
        return list(map(upcast, scores)), list(map(upcast, codes))


class _Predictor(FastRCNNPredictor):
    """torchvision's head with float32 outputs; see `_Pyramid`."""

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        scores, codes = super().forward(x)
        return upcast(scores), upcast(codes)


class _PrepareAndPad(GeneralizedRCNNTransform):
    """Prepare images for the backbone and pad them, without resizing."""

    def __init__(self, prepare: Callable[[Tensor], Tensor]) -> None:
        super().__init__(0, 0, [], [])
        self.prepare = prepare

    def normalize(self, image: Tensor) -> Tensor:
        return self.prepare(image[None])[0]

    def resize(
        self, image: Tensor, target: dict[str, Tensor] | None = None
    ) -> tuple[Tensor, dict[str, Tensor] | None]:
        return image, target


def _faster_rcnn(pyramid: _Pyramid, spec: DetectorSpec, classes: int) -> FasterRCNN:
    sizes = tuple((round(spec.anchor_scale * stride),) for stride in spec.strides)
    ratios = (spec.anchor_ratios,) * len(spec.strides)
    if spec.geometry == "torchvision":
        anchors = AnchorGenerator(sizes, ratios)
        regions = MultiScaleRoIAlign(_MAPS, _POOLED, _SAMPLES)
    else:
        anchors = ExactAnchors(sizes, ratios, spec.strides)
        regions = AlignedRegions(_MAPS, _POOLED, spec.strides)
    return FasterRCNN(
        pyramid,
        rpn_anchor_generator=anchors,
        rpn_pre_nms_top_n_train=spec.train_proposals,
        rpn_pre_nms_top_n_test=spec.test_proposals,
        rpn_post_nms_top_n_train=spec.train_proposals,
        rpn_post_nms_top_n_test=spec.test_proposals,
        rpn_nms_thresh=spec.proposal_overlap,
        rpn_batch_size_per_image=spec.anchors_sampled,
        box_roi_pool=regions,
        box_head=TwoMLPHead(spec.channels * _POOLED**2, spec.head_channels),
        box_predictor=_Predictor(spec.head_channels, classes + 1),
        rpn_head=_ProposalHead(spec.channels, len(spec.anchor_ratios)),
        box_score_thresh=spec.score_threshold,
        box_nms_thresh=spec.overlap,
        box_detections_per_img=spec.detections,
        box_batch_size_per_image=spec.regions_sampled,
    )
