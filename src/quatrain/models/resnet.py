"""The attended residual network: torchvision's ResNet with mixers in chosen stages.

    backbone = ResNetSpec(mixer=parse_mixer("0010+deformable")).build()
    maps = backbone(images)            # {"conv2": (N, 256, H/4, W/4), ..., "conv5": (N, 2048, ...)}

Attention and dynamic convolution are inserted, so that the network starts as the plain one, bit
for bit; a deformable convolution takes the place of a 3 x 3 and of its weight.

Shapes: n images, h w their size.
"""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Literal, cast

import torch
import torchvision
from jaxtyping import Float
from pydantic import Field, model_validator
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.models import WeightsEnum, get_model_weights
from torchvision.models.resnet import BasicBlock
from torchvision.ops.misc import FrozenBatchNorm2d

from quatrain.insertion import insert, replace
from quatrain.nn.mixers import Mixer, parts_of
from quatrain.specs import DataError, Spec, SpecError

Norm = Literal["batch", "frozen", "group"]
STAGES = (2, 3, 4, 5)
_GROUPS = 32


class ResNetSpec(Spec):
    """A residual network, and what stands in its blocks.

    Source: He et al. 2016, https://arxiv.org/abs/1512.03385, table 1; Zhu et al. 2019,
        https://arxiv.org/abs/1904.05873, figure 2 (a) and section 4.1.
    """

    depth: Literal[18, 34, 50, 101] = 50
    mixer: Mixer | None = None
    """Attention or dynamic convolution to insert, a convolution to replace by, or both."""
    inserted_stages: tuple[int, ...] = (4, 5)
    """Stages whose blocks get the attention or dynamic convolution; conv4 and conv5."""
    replaced_stages: tuple[int, ...] = (3, 4, 5)
    """Stages whose 3 x 3 becomes the deformable convolution."""
    output_stride: Literal[8, 32] = 32
    """Pixels of an image for one of conv5; with 8, conv4 and conv5 are dilated by 2 and 4."""
    norm: Norm = "batch"
    """Batch normalization, the same with constants, or groups of channels."""
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
        if self.norm == "group" and self.weights is not None:
            remedy = 'use "batch" or "frozen", or no weights'
            raise SpecError("norm", self.norm, "batch normalization, as in the weights", remedy)
        return self

    def build(self) -> "ResNet":
        """The network, on the default device."""
        return ResNet(self)


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
        build = getattr(torchvision.models, f"resnet{spec.depth}")
        body = build(weights=None, norm_layer=_norm(spec.norm))
        if spec.weights is not None:
            _load(body, spec)
        body.fc = nn.Identity()
        if spec.output_stride == 8:
            _dilate(body.layer3, 2)
            _dilate(body.layer4, 4)
        self.body = body
        _mix(body, spec)
        width = 64 if spec.depth < 50 else 256
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
        return self

    def _frozen(self) -> list[nn.Module]:
        """What does not learn: the stem is the first stage."""
        if self.spec.frozen_stages == 0:
            return []
        stages = [self._stage(stage) for stage in STAGES if stage <= self.spec.frozen_stages]
        return [self.body.conv1, self.body.bn1, *stages]

    def _stage(self, stage: int) -> nn.Module:
        return cast(nn.Module, getattr(self.body, f"layer{stage - 1}"))


def _norm(kind: Norm) -> Callable[[int], nn.Module]:
    if kind == "group":
        return lambda channels: nn.GroupNorm(min(_GROUPS, channels), channels)
    return FrozenBatchNorm2d if kind == "frozen" else nn.BatchNorm2d


def _dilate(stage: nn.Module, dilation: int) -> None:
    """Let a stage keep the size of its maps, its 3 x 3 taps that much further apart."""
    for module in stage.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
            if module.kernel_size == (3, 3):
                module.dilation = module.padding = (dilation, dilation)


def _mix(body: nn.Module, spec: ResNetSpec) -> None:
    convolution, attention = parts_of(spec.mixer)
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


def _load(body: nn.Module, spec: ResNetSpec) -> None:
    """Read weights of the plain network into it; those of its classifier are left out."""
    state = _published(spec) if spec.weights_file is None else _read(Path(spec.weights_file), spec)
    given = spec.weights_file or spec.weights
    wanted = {key: value for key, value in body.state_dict().items() if not key.startswith("fc.")}
    for key, value in wanted.items():
        if key.endswith("num_batches_tracked"):
            continue
        found = tuple(state[key].shape) if key in state else "missing"
        if found != tuple(value.shape):
            expected = f"a tensor of shape {tuple(value.shape)} in {given}"
            raise DataError(key, found, expected, f"give weights of a ResNet-{spec.depth}")
    body.load_state_dict({key: state[key] for key in wanted if key in state}, strict=False)


def _names(spec: ResNetSpec) -> dict[str, WeightsEnum]:
    return {each.name: each for each in get_model_weights(f"resnet{spec.depth}")}


def _published(spec: ResNetSpec) -> Mapping[str, Tensor]:
    """Torchvision's weights, downloaded unless they are there already."""
    named, name = _names(spec), str(spec.weights)
    if name not in named:
        expected = f"one of {', '.join(named)}, or the SHA-256 of weights_file"
        raise DataError("weights", name, expected, "mend the name, or say where the file lies")
    return named[name].get_state_dict(check_hash=True, weights_only=True)


def _read(path: Path, spec: ResNetSpec) -> Mapping[str, Tensor]:
    """Tensors by name, of a file with the right content; nothing else is unpickled."""
    named, expected = _names(spec), str(spec.weights)
    published = expected in named
    if published:  # torchvision's files are called resnet50-0676ba61.pth, by their hash
        expected = Path(named[expected].url).stem.rpartition("-")[2]
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != expected and not (published and found.startswith(expected)):
            remedy = f"give another file, or weights={found}"
            raise DataError("weights_file", str(path), f"a file of SHA-256 {expected}", remedy)
        if path.suffix == ".safetensors":
            return load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        remedy = f"save a state_dict there again ({type(error).__name__})"
        raise DataError("weights_file", str(path), "tensors by name", remedy) from error
