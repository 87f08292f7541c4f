"""Segmenter on a frozen backbone: a small head with a mixer, which alone is trained.

    segmenter = FrozenSegmenterSpec(mixer=parse_mixer("0010")).build(classes=11)
    logits = segmenter(images)                 # uint8 (N, 3, H, W) -> (N, 11, H, W)
    main, _ = segmenter.scores(images)         # (N, 11, H/16, W/16), for training

    conv4 -> 1 x 1 --+
    conv5 -> 1 x 1 --+-> sum at the finest stride -> 3 x 3 -> mixer -> classes

The backbone computes each image once and keeps its maps in files; see `FrozenBackbone`.

Shapes: n images, h w their size, c classes, k channels of a map, y x its size.
"""

from collections.abc import Mapping
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from pydantic import Field, field_validator, model_validator
from torch import Tensor, nn

from quatrain.insertion import replace
from quatrain.models.frozen_backbone import MAPS, FrozenBackbone, FrozenBackboneSpec, Map
from quatrain.models.segmenter import HEAD_NORMS, HeadNorm, Scores, conv_layer, resize_scores
from quatrain.nn.layers import Dropout, GatedResidual
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.nn.parameters import initialize_by_name
from quatrain.specs import Spec
from quatrain.specs.errors import shorten
from quatrain.weights import SavedModule


class FrozenSegmenterSpec(Spec):
    """A segmenter whose backbone is not trained, and the mixer in its head."""

    kind: Literal["frozen"] = "frozen"
    backbone: FrozenBackboneSpec = FrozenBackboneSpec()
    """The frozen network."""
    maps: tuple[Map, ...] = Field(default=("conv4", "conv5"), min_length=1)
    """The maps that the head reads, the finest first; the mixer has the positions of the finest."""
    channels: int = Field(default=96, ge=1)
    """Width of the head."""
    mixer: Mixer | None = None
    """A convolution replaces the 3 x 3 of the head; attention and dynamic convolution follow it."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout before the classifier."""
    norm: HeadNorm = "batch"
    """Normalization in the head; see `SegmenterSpec.norm`."""

    @field_validator("maps")
    @classmethod
    def _check_order(cls, maps: tuple[Map, ...]) -> tuple[Map, ...]:
        if maps != tuple(name for name in MAPS if name in maps):
            text = f"maps={shorten(maps)} are not different maps, the finest first"
            raise ValueError(f'{text}; use for example ("conv4", "conv5")')
        return maps

    @model_validator(mode="after")
    def _check_channels(self) -> "FrozenSegmenterSpec":
        for mixer in split_mixer(self.mixer):
            if mixer is not None:
                mixer.check_channels(self.channels, ndim=2)
        return self

    def build(self, classes: int) -> "FrozenSegmenter":
        """Create the network, with weights from torch's random state, on the default device.

        Raises:
            MissingPackageError: if the packages of the backbone are not installed.
            DataError: if the file of its weights is missing, damaged or another one.
        """
        return FrozenSegmenter(self, classes)


class FrozenSegmenter(SavedModule):
    """Semantic segmentation of uint8 images by a trained head on a frozen backbone.

    The backbone's weights are not saved with it; they are read again when it is loaded.

    Source: the order of layers is that of Huang et al. 2019, https://arxiv.org/abs/1811.11721,
        section 3.2: reduction, attention, classifier.
    Differs: several maps are summed, a 3 x 3 convolution precedes the mixer and none follows it,
        and there is no auxiliary head, since the maps do not learn.
    """

    spec_class: ClassVar[type[Spec]] = FrozenSegmenterSpec
    spec: FrozenSegmenterSpec

    def __init__(self, spec: FrozenSegmenterSpec, classes: int) -> None:
        super().__init__()
        seed = int(torch.randint(2**62, (), device="cpu"))
        self.spec = spec
        self.classes = classes
        self.backbone: FrozenBackbone = spec.backbone.build(spec.maps)
        self.head: _Head = _Head(spec, self.backbone.channels, classes)
        initialize_by_name(self.head, seed)
        convolution, _ = split_mixer(spec.mixer)
        if convolution is not None:
            replace(self.head, convolution, at="convolve.0", seed=seed)

    def _build_arguments(self) -> dict[str, int]:
        return {"classes": self.classes}

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n c h w"]:
        """Logits of the classes at each pixel."""
        return resize_scores(self.head(self.backbone(images)), (images.shape[2], images.shape[3]))

    def scores(self, images: UInt8[Tensor, "n 3 h w"]) -> Scores:
        """Logits at each position of the finest map, without auxiliary ones."""
        return Scores(self.head(self.backbone(images)), None)


class _Head(nn.Module):
    """The trained layers: reduction of the maps, 3 x 3 convolution, mixer and classifier."""

    def __init__(
        self, spec: FrozenSegmenterSpec, channels: Mapping[str, int], classes: int
    ) -> None:
        super().__init__()
        width = spec.channels
        _, attention = split_mixer(spec.mixer)
        self.reduce: nn.ModuleDict = nn.ModuleDict(
            {name: nn.Conv2d(inputs, width, 1, bias=False) for name, inputs in channels.items()}
        )
        self.normalize: nn.Sequential = nn.Sequential(HEAD_NORMS[spec.norm](width), nn.ReLU())
        self.convolve: nn.Sequential = conv_layer(width, width, spec.norm)
        self.attend: GatedResidual | None = (
            None if attention is None else GatedResidual(attention.build(width, ndim=2))
        )
        self.dropout: Dropout = Dropout(spec.dropout)
        self.classify: nn.Conv2d = nn.Conv2d(width, classes, 1)

    def forward(self, maps: Mapping[str, Float[Tensor, "n _ _ _"]]) -> Float[Tensor, "n c y x"]:
        reduced = [layer(maps[name]) for name, layer in self.reduce.items()]
        size = (reduced[0].shape[2], reduced[0].shape[3])
        x = reduced[0]
        for coarser in reduced[1:]:
            x = x + resize_scores(coarser, size)
        x = self.convolve(self.normalize(x))
        if self.attend is not None:
            x = self.attend(x)
        return self.classify(self.dropout(x))
