"""torchvision's ResNet with mixers in chosen stages, and the normalization of its images.

    backbone = ResNetSpec(mixer=parse_mixer("0010+deformable")).build()
    maps = backbone(images)            # {"conv2": (N, 256, H/4, W/4), ..., "conv5": (N, 2048, ...)}

Attention and dynamic convolution are inserted; the network then starts as the plain one, bit for
bit. A deformable convolution replaces a 3 x 3 convolution and keeps its weight.

Shapes: n images, h w their size.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float, UInt8
from pydantic import Field, model_validator
from torch import Tensor, nn

from quatrain.insertion import insert, replace
from quatrain.models.pretrained import load_pretrained
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.specs import Spec, SpecError, name_missing_extra
from quatrain.weights import SavedModule

with name_missing_extra():
    import torchvision
    from torchvision.models.resnet import BasicBlock, Bottleneck
    from torchvision.ops.misc import FrozenBatchNorm2d
    from torchvision.transforms.v2 import functional

Norm = Literal["batch", "eval", "frozen", "group"]
STAGES = (2, 3, 4, 5)
MEAN = (0.485, 0.456, 0.406)
"""Mean of red, green and blue over ImageNet, with values from 0 to 1."""
DEVIATION = (0.229, 0.224, 0.225)
"""Standard deviation of the same."""
_GROUPS = 32
_WIDTH = 64
"""`ResNetSpec.width` of the networks with published weights."""


class ResNetSpec(Spec):
    """A residual network, and the mixer in its blocks.

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385, table 1; Zhu et al. 2019,
        https://arxiv.org/abs/1904.05873, figure 2 (a) and section 4.1.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: int = Field(default=64, ge=8, multiple_of=8)
    """Channels of the 3 x 3 convolutions of conv2; each stage doubles them."""
    mixer: Mixer | None = None
    """Attention or dynamic convolution to insert, a convolution to replace 3 x 3s by, or both."""
    inserted_stages: tuple[int, ...] = (4, 5)
    """Stages into whose blocks attention or dynamic convolution is inserted: conv4 and conv5."""
    replaced_stages: tuple[int, ...] = (3, 4, 5)
    """Stages whose 3 x 3 convolutions are replaced by deformable ones."""
    output_stride: Literal[4, 8, 16, 32] = 32
    """Stride of conv5 in pixels; stages that would have a larger stride are dilated instead."""
    norm: Norm = "batch"
    """Batch normalization ("batch"); with fixed statistics ("eval"); with fixed statistics, scales
    and shifts ("frozen"); or group normalization ("group")."""
    frozen_stages: int = Field(default=0, ge=0, le=5)
    """The stem (1) and stages up to this one are not trained."""
    weights: str | None = None
    """The name of torchvision's weights, such as "IMAGENET1K_V1", or the SHA-256 of a file."""
    weights_file: str | None = None
    """Path of that file, or of a copy of torchvision's; None to download torchvision's."""

    outside_identity: ClassVar[frozenset[str]] = frozenset({"weights_file"})
    initial_weights: ClassVar[frozenset[str]] = frozenset({"weights", "weights_file"})

    @model_validator(mode="after")
    def _check_fields(self) -> "ResNetSpec":
        if self.weights is None and self.weights_file is not None:
            text = f"weights_file={self.weights_file} needs weights, the SHA-256 of the file"
            raise SpecError(f"{text}, which `sha256sum` prints", "weights")
        for name in ("inserted_stages", "replaced_stages"):
            stages = getattr(self, name)
            if len(set(stages) & set(STAGES)) < len(stages):
                raise SpecError(f"{name}={stages} are not stages among 2, 3, 4, 5, once each", name)
        if self.norm == "group" and self.weights is not None:
            text = 'norm="group" does not fit weights of a network with batch normalization'
            raise SpecError(f'{text}; use "batch", "eval" or "frozen", or no weights', "norm")
        if self.width != _WIDTH and self.weights is not None:
            text = f"width={self.width} does not fit weights of a network of width {_WIDTH}"
            raise SpecError(f"{text}; use width={_WIDTH} or no weights", "width")
        return self

    @model_validator(mode="after")
    def _check_frozen_stages(self) -> "ResNetSpec":
        convolution, attention = split_mixer(self.mixer)
        stages = self.replaced_stages if convolution is not None else ()
        stages += self.inserted_stages if attention is not None else ()
        first = min(stages, default=max(STAGES) + 1)
        if first <= self.frozen_stages:
            text = f"frozen_stages={self.frozen_stages} freezes conv{first}, whose mixer is trained"
            raise SpecError(f"{text}; use at most {first - 1}", "frozen_stages")
        return self

    def build(self) -> "ResNet":
        """Create the network, on the default device."""
        return ResNet(self)


_BLOCKS = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
}
"""The kind of block, and the number of blocks of each stage, by depth."""


class _Body(torchvision.models.ResNet):
    """torchvision's network with the spec's width; the stem has 64 channels."""

    def __init__(self, spec: ResNetSpec) -> None:
        self._factor = spec.width / _WIDTH
        super().__init__(*_BLOCKS[spec.depth], norm_layer=norm_layer(spec.norm))

    def _make_layer(self, block: Any, planes: int, *rest: Any, **named: Any) -> nn.Sequential:
        return super()._make_layer(block, round(planes * self._factor), *rest, **named)


class ResNet(SavedModule):
    """A residual network without classifier, which returns the maps of all four stages.

    In a bottleneck block the mixer reads the output of the 3 x 3 convolution, its normalization
    and ReLU; in a basic block, the output of the second convolution and its normalization.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).
    Differs: the paper uses bottleneck blocks only; dilation applies to all 3 x 3s of a stage.
    """

    spec_class: ClassVar[type[Spec]] = ResNetSpec
    spec: ResNetSpec

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        body = _Body(spec)
        if spec.weights is not None:
            load_pretrained(body, spec.depth, spec.weights, spec.weights_file)
        body.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.body: Any = body
        for stage in STAGES:
            if 2**stage > spec.output_stride:
                _dilate(self._stage(stage), 2**stage // spec.output_stride)
        _add_mixers(body, spec)
        width = spec.width * _BLOCKS[spec.depth][0].expansion
        self.channels: dict[str, int] = {
            f"conv{stage}": width * 2 ** (stage - 2) for stage in STAGES
        }
        for part in self._frozen_parts():
            part.requires_grad_(requires_grad=False)

    def forward(self, images: Float[Tensor, "n 3 h w"]) -> dict[str, Tensor]:
        """The maps "conv2" to "conv5"."""
        body = self.body
        x = body.maxpool(body.relu(body.bn1(body.conv1(images))))
        maps = {}
        for stage in STAGES:
            x = maps[f"conv{stage}"] = self._stage(stage)(x)
        return maps

    def train(self, mode: bool = True) -> "ResNet":
        """Set the mode; frozen parts stay in evaluation mode, which keeps their statistics."""
        super().train(mode)
        for part in self._frozen_parts():
            part.eval()
        if self.spec.norm == "eval":
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def _frozen_parts(self) -> list[nn.Module]:
        """The parts that are not trained; the stem is stage 1."""
        if self.spec.frozen_stages == 0:
            return []
        stages = [self._stage(stage) for stage in STAGES if stage <= self.spec.frozen_stages]
        return [self.body.conv1, self.body.bn1, *stages]

    def _stage(self, stage: int) -> nn.Module:
        return cast(nn.Module, getattr(self.body, f"layer{stage - 1}"))


def normalize_images(images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n 3 h w"]:
    """(x / 255 - mean) / deviation per channel, in float32, on the device of the images.

    Source: the weights of torchvision, whose presets normalize by these numbers,
        https://docs.pytorch.org/vision/stable/models.html.
    """
    scaled = functional.to_dtype(images, torch.float32, scale=True)
    return functional.normalize(scaled, list(MEAN), list(DEVIATION))


def norm_layer(kind: Norm) -> Callable[[int], nn.Module]:
    """The constructor of a normalization layer, which takes the number of channels."""
    if kind == "group":
        return _group_norm
    return FrozenBatchNorm2d if kind == "frozen" else nn.BatchNorm2d


def _group_norm(channels: int) -> nn.GroupNorm:
    # Named, since torchvision's network keeps the function, and must be pickled.
    return nn.GroupNorm(math.gcd(_GROUPS, channels), channels)


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Replace the stride of a stage by dilation of its 3 x 3 convolutions."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def _add_mixers(body: nn.Module, spec: ResNetSpec) -> None:
    convolution, attention = split_mixer(spec.mixer)
    seed = int(torch.randint(2**62, (), device="cpu"))  # also without a mixer: one random stream
    if convolution is not None:
        for stage in spec.replaced_stages:
            replace(body, convolution, at=f"layer{stage - 1}.*.conv2", seed=seed)
    if attention is None:
        return
    device = next(body.parameters()).device
    example = torch.zeros(1, 3, 64, 64, device=device)
    for stage in spec.inserted_stages:
        layer = f"layer{stage - 1}.*"
        if isinstance(body.get_submodule("layer1.0"), BasicBlock):
            insert(body, attention, after=f"{layer}.bn2", example=example, seed=seed)
        else:
            insert(body, attention, before=f"{layer}.conv3", example=example, seed=seed)
