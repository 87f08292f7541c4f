"""The attended residual network: torchvision's ResNet with mixers in chosen stages.

    backbone = ResNetSpec(mixer=parse_mixer("0010+deformable")).build()
    maps = backbone(images)            # {"conv2": (N, 256, H/4, W/4), ..., "conv5": (N, 2048, ...)}

Attention and dynamic convolution are inserted, so that the network starts as the plain one, bit
for bit; a deformable convolution takes the place of a 3 x 3 and of its weight.

Shapes: n images, h w their size.
"""

import math
from collections.abc import Callable
from typing import Any, ClassVar, Literal, cast

import torch
from jaxtyping import Float
from pydantic import Field, model_validator
from torch import Tensor, nn

from quatrain.insertion import insert, replace
from quatrain.models.pretrained import load_pretrained
from quatrain.nn.mixers import Mixer, split_mixer
from quatrain.specs import Spec, SpecError, name_missing_extra

with name_missing_extra():
    import torchvision
    from torchvision.models.resnet import BasicBlock, Bottleneck
    from torchvision.ops.misc import FrozenBatchNorm2d

Norm = Literal["batch", "eval", "frozen", "group"]
STAGES = (2, 3, 4, 5)
_GROUPS = 32
_WIDTH = 64
"""Of the networks that torchvision has weights for."""


class ResNetSpec(Spec):
    """A residual network, and what stands in its blocks.

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385, table 1; Zhu et al. 2019,
        https://arxiv.org/abs/1904.05873, figure 2 (a) and section 4.1.
    """

    depth: Literal[18, 34, 50, 101] = 50
    width: int = Field(default=64, ge=8, multiple_of=8)
    """Channels of the 3 x 3 of conv2; each stage doubles them."""
    mixer: Mixer | None = None
    """Attention or dynamic convolution to insert, a convolution to replace by, or both."""
    inserted_stages: tuple[int, ...] = (4, 5)
    """Stages whose blocks get the attention or dynamic convolution; conv4 and conv5."""
    replaced_stages: tuple[int, ...] = (3, 4, 5)
    """Stages whose 3 x 3 becomes the deformable convolution."""
    output_stride: Literal[4, 8, 16, 32] = 32
    """Pixels of an image for one of conv5; stages that would be coarser are dilated instead."""
    norm: Norm = "batch"
    """Batch normalization; by the statistics that it has, which stay ("eval"); by these and factors
    and shifts that stay too ("frozen"); or over groups of channels."""
    frozen_stages: int = Field(default=0, ge=0, le=5)
    """The stem (1) and stages up to this one do not learn."""
    weights: str | None = None
    """The name of torchvision's weights, as "IMAGENET1K_V1", or the SHA-256 of a file of others."""
    weights_file: str | None = None
    """Where that file lies, or a copy of torchvision's; None to download those."""

    outside_identity: ClassVar[frozenset[str]] = frozenset({"weights_file"})

    @model_validator(mode="after")
    def _fits_together(self) -> "ResNetSpec":
        if self.weights is None and self.weights_file is not None:
            expected = f"the SHA-256 of {self.weights_file}"
            raise SpecError("weights", None, expected, "`sha256sum` prints it")
        for name in ("inserted_stages", "replaced_stages"):
            stages = getattr(self, name)
            if not set(stages) <= set(STAGES):
                raise SpecError(name, stages, "stages among 2, 3, 4, 5", "leave the others out")
            if len(set(stages)) < len(stages):
                raise SpecError(name, stages, "each stage once", "leave the others out")
        self._refuse_mixers_that_never_learn()
        if self.norm == "group" and self.weights is not None:
            remedy = 'use "batch", "eval" or "frozen", or no weights'
            raise SpecError("norm", self.norm, "batch normalization, as in the weights", remedy)
        if self.width != _WIDTH and self.weights is not None:
            raise SpecError("width", self.width, f"{_WIDTH}, as in the weights", "use no weights")
        return self

    def _refuse_mixers_that_never_learn(self) -> None:
        convolution, attention = split_mixer(self.mixer)
        stages = self.replaced_stages if convolution is not None else ()
        stages += self.inserted_stages if attention is not None else ()
        frozen = [stage for stage in stages if stage <= self.frozen_stages]
        if frozen:
            found = f"{self.frozen_stages}, and a mixer in conv{frozen[0]}"
            expected = f"less than {min(frozen)}, so that the mixer learns"
            raise SpecError("frozen_stages", found, expected, "freeze fewer stages")

    def build(self) -> "ResNet":
        """The network, on the default device."""
        return ResNet(self)


_BLOCKS = {
    18: (BasicBlock, [2, 2, 2, 2]),
    34: (BasicBlock, [3, 4, 6, 3]),
    50: (Bottleneck, [3, 4, 6, 3]),
    101: (Bottleneck, [3, 4, 23, 3]),
}
"""The kind of block, and how many each stage has."""


class _Body(torchvision.models.ResNet):
    """torchvision's network, its stages as wide as the spec says; the stem has 64 channels."""

    def __init__(self, spec: ResNetSpec) -> None:
        self._factor = spec.width / _WIDTH
        super().__init__(*_BLOCKS[spec.depth], norm_layer=normalization(spec.norm))

    def _make_layer(self, block: Any, planes: int, *rest: Any, **named: Any) -> nn.Sequential:
        return super()._make_layer(block, round(planes * self._factor), *rest, **named)


class ResNet(nn.Module):
    """A residual network without its classifier, that gives the maps of all four stages.

    Where a block is of three convolutions the mixer reads what the 3 x 3 gives, after its
    normalization and ReLU; where it is of two, what the second gives, after its normalization.

    Source: Zhu et al. 2019, https://arxiv.org/abs/1904.05873, figure 2 (a).
    Differs: the paper has blocks of three convolutions only; dilation reaches all 3 x 3 of a stage.
    """

    def __init__(self, spec: ResNetSpec) -> None:
        super().__init__()
        self.spec = spec
        body = _Body(spec)
        if spec.weights is not None:
            load_pretrained(body, spec.depth, spec.weights, spec.weights_file)
        body.fc = nn.Identity()  # pyright: ignore[reportAttributeAccessIssue]
        self.body = body
        for stage in STAGES:
            if 2**stage > spec.output_stride:
                _dilate(self._stage(stage), 2**stage // spec.output_stride)
        _mix(body, spec)
        width = spec.width * _BLOCKS[spec.depth][0].expansion
        self.channels = {f"conv{stage}": width * 2 ** (stage - 2) for stage in STAGES}
        for part in self._frozen():
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
        """Set the mode; what is frozen stays in evaluation, so that its statistics stay too."""
        super().train(mode)
        for part in self._frozen():
            part.eval()
        if self.spec.norm == "eval":
            for part in self.modules():
                if isinstance(part, nn.BatchNorm2d):
                    part.eval()
        return self

    def _frozen(self) -> list[nn.Module]:
        """What does not learn: the stem is the first stage."""
        if self.spec.frozen_stages == 0:
            return []
        stages = [self._stage(stage) for stage in STAGES if stage <= self.spec.frozen_stages]
        return [self.body.conv1, self.body.bn1, *stages]

    def _stage(self, stage: int) -> nn.Module:
        return cast(nn.Module, getattr(self.body, f"layer{stage - 1}"))


def normalization(kind: Norm) -> Callable[[int], nn.Module]:
    """What makes a layer of that kind for a number of channels."""
    if kind == "group":
        return lambda channels: nn.GroupNorm(math.gcd(_GROUPS, channels), channels)
    return FrozenBatchNorm2d if kind == "frozen" else nn.BatchNorm2d


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Let a stage keep the size of its maps, its 3 x 3 taps that much further apart."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def _mix(body: nn.Module, spec: ResNetSpec) -> None:
    convolution, attention = split_mixer(spec.mixer)
    seed = int(torch.randint(2**62, (), device="cpu"))  # whatever the mixer, the stream goes on
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
