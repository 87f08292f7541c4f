"""Pretrained weights of ResNets: torchvision's, by name, or a file's, by its SHA-256.

load_pretrained(body, 50, "IMAGENET1K_V1")                   # downloaded if not cached
load_pretrained(body, 50, "IMAGENET1K_V1", "r50.pth")        # from a copy of the file
load_pretrained(body, 50, "9f64a747...", "own.safetensors")  # other weights, with this SHA-256
"""

import hashlib
import string
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from quatrain.specs import DataError, name_missing_extra
from quatrain.specs.errors import shorten
from quatrain.weights.torch_file import check_archive

with name_missing_extra():
    from torchvision.models import WeightsEnum, get_model_weights

_SHA256_LENGTH = 64


def load_pretrained(body: nn.Module, depth: int, weights: str, file: str | None = None) -> None:
    """Load the weights of a ResNet without its classifier; they must be finite."""
    state = _download(depth, weights) if file is None else _read(Path(file), depth, weights)
    source = file or weights
    parameters = {key: value for key, value in body.state_dict().items() if _is_needed(key)}
    for key, parameter in parameters.items():
        problem = _problem(state.get(key), parameter)
        if problem is not None:
            text = f"{key} in {source} {problem}"
            raise DataError(f"{text}; use the dense state_dict of a ResNet-{depth}", key)
    for key in state:
        if _is_needed(key) and key not in parameters:
            text = f"{key} in {source} is not a tensor of a ResNet-{depth}"
            raise DataError(f"{text}; use weights of this network, or remove it", "weights")
    body.load_state_dict({key: state[key] for key in parameters}, strict=False)


def _is_needed(key: str) -> bool:
    """Whether a tensor is loaded: not the classifier's, and not counters of batch statistics."""
    return not key.startswith("fc.") and not key.endswith("num_batches_tracked")


def _problem(tensor: Tensor | None, parameter: Tensor) -> str | None:
    """The reason why a tensor cannot be loaded into a parameter."""
    if tensor is None:
        return "is missing"
    if tensor.is_nested or tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        return "has no values" if tensor.is_meta else "is sparse, nested or quantized"
    if tensor.shape != parameter.shape:
        return f"has shape {tuple(tensor.shape)}, not {tuple(parameter.shape)}"
    if not tensor.is_floating_point():
        return f"has type {tensor.dtype}, which is not floating-point"
    # After conversion: a large float64 becomes infinite, and not every dtype has isfinite.
    return None if tensor.to(parameter.dtype).isfinite().all() else "has NaN or infinite numbers"


def _published(depth: int) -> dict[str, WeightsEnum]:
    return {weights.name: weights for weights in get_model_weights(f"resnet{depth}")}


def _download(depth: int, name: str) -> Mapping[str, Tensor]:
    """Torchvision's weights, from the network or torch's cache."""
    published = _published(depth)
    if name not in published:
        text = f"weights={shorten(name)} is none of {', '.join(published)}"
        raise DataError(f"{text}; correct it, or use the SHA-256 of weights_file", "weights")
    try:
        return published[name].get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        text = f"weights {name} cannot be downloaded ({error})"
        raise DataError(f"{text}; set weights_file to the path of a copy", "weights") from error


def _read(path: Path, depth: int, weights: str) -> Mapping[str, Tensor]:
    """The state_dict in a file with the expected hash; only tensors are unpickled."""
    _check_hash(path, file_sha256(path), depth, weights)
    text = f"{path} contains no state_dict (tensors by name); save model.state_dict() only"
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        check_archive(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling may raise any exception
        raise DataError(f"{text} ({type(error).__name__})", "weights_file") from error
    if isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()
    ):
        return state
    raise DataError(text, "weights_file")


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file of weights, in hexadecimal.

    Raises:
        DataError: if it is no regular file, or cannot be read.
    """
    try:
        if not path.is_file():  # opening a pipe would block
            raise DataError(f"{path} is no file; correct the path", "weights_file")
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        reason = error.strerror or error
        raise DataError(f"{path} cannot be read ({reason})", "weights_file") from error


def _check_hash(path: Path, digest: str, depth: int, weights: str) -> None:
    """Check the SHA-256 of a file; torchvision's names end in its start: resnet50-0676ba61.pth."""
    published = _published(depth)
    if weights in published:
        expected = Path(published[weights].url).stem.rpartition("-")[2]
        matches = digest.startswith(expected)
    else:
        expected, matches = weights, digest == weights
    if matches:
        return
    is_hash = len(weights) == _SHA256_LENGTH and set(weights) <= set(string.hexdigits)
    if weights not in published and not is_hash:
        text = f"weights={shorten(weights)} is neither a SHA-256 nor one of {', '.join(published)}"
        raise DataError(f"{text}; for {path} use weights={digest}", "weights")
    text = f"the SHA-256 of {path} is {digest}, not {expected}"
    raise DataError(f"{text}; use another file, or that hash as weights", "weights_file")
