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

with name_missing_extra():
    from torchvision.models import WeightsEnum, get_model_weights

_SHA256_LENGTH = 64


def load_pretrained(body: nn.Module, depth: int, weights: str, file: str | None = None) -> None:
    """Load the weights of a ResNet without its classifier.

    Raises:
        DataError: if the weights cannot be read, belong to another network, or are not finite.
    """
    state = _download(depth, weights) if file is None else _read(Path(file), depth, weights)
    source = file or weights
    expected = {key: value for key, value in body.state_dict().items() if _is_needed(key)}
    remedy = f"use weights of a ResNet-{depth}"
    for key, value in expected.items():
        _check_tensor(key, state.get(key), value, source, remedy)
    others = sorted(key for key in state if _is_needed(key) and key not in expected)
    if others:
        if not others[0].startswith("layer"):
            remedy = f"remove {others[0]} from {source}"
        only = f"only tensors of a ResNet-{depth}"
        raise DataError("weights", f"with {others[0]}", only, remedy)
    body.load_state_dict({key: state[key] for key in expected}, strict=False)


def _is_needed(key: str) -> bool:
    """Whether a tensor is loaded: not the classifier's, and not counters of batch statistics."""
    return not key.startswith("fc.") and not key.endswith("num_batches_tracked")


def _check_tensor(
    key: str, tensor: Tensor | None, parameter: Tensor, source: str, remedy: str
) -> None:
    """Check that a tensor exists, is dense and finite, and has the shape of the parameter.

    Raises:
        DataError: if it does not.
    """
    shape = tuple(parameter.shape)
    if tensor is None:
        raise DataError(key, "missing", f"a tensor of shape {shape} in {source}", remedy)
    if tensor.is_nested or tensor.is_meta or tensor.is_quantized or tensor.layout != torch.strided:
        kind = "without values" if tensor.is_meta else "sparse, nested or quantized"
        dense = "load the weights into their own network and save its dense state_dict"
        raise DataError(key, f"a tensor {kind}", f"a dense tensor in {source}", dense)
    if tuple(tensor.shape) != shape:
        size = tuple(tensor.shape)
        raise DataError(key, size, f"a tensor of shape {shape} in {source}", remedy)
    if not tensor.is_floating_point():
        raise DataError(key, str(tensor.dtype), f"floating-point numbers in {source}", remedy)
    # After conversion: a large float64 becomes infinite, and not every dtype has isfinite.
    if not tensor.to(parameter.dtype).isfinite().all():
        raise DataError(key, "NaN or infinite", f"finite numbers in {source}", remedy)


def _published(depth: int) -> dict[str, WeightsEnum]:
    return {each.name: each for each in get_model_weights(f"resnet{depth}")}


def _download(depth: int, name: str) -> Mapping[str, Tensor]:
    """Torchvision's weights, from the network or torch's cache."""
    published = _published(depth)
    if name not in published:
        expected = f"one of {', '.join(published)}, or the SHA-256 of weights_file"
        raise DataError("weights", name, expected, "correct the name, or set weights_file")
    try:
        return published[name].get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        expected = "weights that can be downloaded"
        remedy = f"set weights_file to the path of a copy ({error})"
        raise DataError("weights", name, expected, remedy) from error


def _read(path: Path, depth: int, weights: str) -> Mapping[str, Tensor]:
    """The state_dict in a file with the expected hash; only tensors are unpickled."""
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        remedy = error.strerror or str(error)
        raise DataError("weights_file", str(path), "a file that can be read", remedy) from error
    _check_hash(path, digest, depth, weights)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # unpickling may raise any exception
        remedy = f"save a state_dict ({type(error).__name__})"
        raise DataError("weights_file", str(path), "a file with a state_dict", remedy) from error
    if isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()
    ):
        return state
    expected = "a file with a state_dict (tensors by name)"
    raise DataError("weights_file", str(path), expected, "save model.state_dict() only")


def _check_hash(path: Path, digest: str, depth: int, weights: str) -> None:
    """Check the SHA-256 of a file; torchvision's names end in its start: resnet50-0676ba61.pth.

    Raises:
        DataError: if the file has other content, or `weights` is neither a name nor a hash.
    """
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
        expected = f"one of {', '.join(published)}, or a SHA-256"
        remedy = f"for {path} use weights={digest}"
        raise DataError("weights", weights, expected, remedy)
    remedy = f"use another file, or weights={digest}"
    raise DataError("weights_file", str(path), f"a file with SHA-256 {expected}", remedy)
