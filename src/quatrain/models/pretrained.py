"""Weights of plain residual networks: torchvision's, by name, or those of a file, by its hash.

load_pretrained(body, 50, "IMAGENET1K_V1")                  # downloaded unless they are there
load_pretrained(body, 50, "IMAGENET1K_V1", "r50.pth")       # a copy of them
load_pretrained(body, 50, "9f64a747...", "own.safetensors")  # others, of that SHA-256
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

_HEX = 64


def load_pretrained(body: nn.Module, depth: int, weights: str, file: str | None = None) -> None:
    """Give a plain residual network all of its weights; those of its classifier are left out.

    Raises:
        DataError: if they cannot be had, are those of another network, or are no finite numbers.
    """
    state = _published(depth, weights) if file is None else _read(Path(file), depth, weights)
    given = file or weights
    wanted = {key: value for key, value in body.state_dict().items() if _is_needed(key)}
    remedy = f"give weights of a ResNet-{depth}"
    for key, value in wanted.items():
        _require(key, state.get(key), value, given, remedy)
    others = sorted(key for key in state if _is_needed(key) and key not in wanted)
    if others:
        expected = f"no more than a ResNet-{depth}'s"
        if not others[0].startswith("layer"):
            remedy = f"leave {others[0]} out of {given}"
        raise DataError("weights", f"with {others[0]}", expected, remedy)
    body.load_state_dict({key: state[key] for key in wanted}, strict=False)


def _is_needed(key: str) -> bool:
    """How often statistics were updated is not needed, nor is the classifier."""
    return not key.startswith("fc.") and not key.endswith("num_batches_tracked")


def _require(key: str, found: Tensor | None, wanted: Tensor, given: str, remedy: str) -> None:
    """The weights must be there, of that shape, and numbers to compute with."""
    shape = tuple(wanted.shape)
    if found is None:
        raise DataError(key, "missing", f"a tensor of shape {shape} in {given}", remedy)
    if found.is_nested or found.is_meta or found.is_quantized or found.layout != torch.strided:
        kind = "without values" if found.is_meta else "sparse, nested or quantized"
        dense = "save the weights dense, after `load_state_dict` into a network of their own"
        raise DataError(key, f"a tensor {kind}", f"a dense tensor in {given}", dense)
    if tuple(found.shape) != shape:
        size = tuple(found.shape)
        raise DataError(key, size, f"a tensor of shape {shape} in {given}", remedy)
    if not found.is_floating_point():
        raise DataError(key, str(found.dtype), f"floating-point numbers in {given}", remedy)
    # As they will be: a large float64 becomes infinite, and not every type can tell.
    if not found.to(wanted.dtype).isfinite().all():
        raise DataError(key, "NaN or infinite", f"finite numbers in {given}", remedy)


def _names(depth: int) -> dict[str, WeightsEnum]:
    return {each.name: each for each in get_model_weights(f"resnet{depth}")}


def _published(depth: int, name: str) -> Mapping[str, Tensor]:
    """Torchvision's weights, downloaded unless they are there already."""
    named = _names(depth)
    if name not in named:
        expected = f"one of {', '.join(named)}, or the SHA-256 of weights_file"
        raise DataError("weights", name, expected, "mend the name, or say where the file lies")
    try:
        return named[name].get_state_dict(check_hash=True, weights_only=True)
    except (OSError, RuntimeError) as error:
        expected = "a download that succeeds, or a copy of it"
        remedy = f"say where a copy lies by weights_file ({error})"
        raise DataError("weights", name, expected, remedy) from error


def _read(path: Path, depth: int, weights: str) -> Mapping[str, Tensor]:
    """Tensors by name, of a file with the right content; nothing else is unpickled."""
    try:
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        remedy = error.strerror or str(error)
        raise DataError("weights_file", str(path), "a file that can be read", remedy) from error
    _require_content(path, found, depth, weights)
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # what is no pickle may raise anything
        remedy = f"save a state_dict there again ({type(error).__name__})"
        raise DataError("weights_file", str(path), "tensors by name", remedy) from error
    if isinstance(state, Mapping) and all(
        isinstance(key, str) and isinstance(each, Tensor) for key, each in state.items()
    ):
        return state
    remedy = "save the network's state_dict alone"
    raise DataError("weights_file", str(path), "tensors by name", remedy)


def _require_content(path: Path, found: str, depth: int, weights: str) -> None:
    """Torchvision's files are called resnet50-0676ba61.pth, by how their hash begins."""
    named = _names(depth)
    if weights in named:
        expected = Path(named[weights].url).stem.rpartition("-")[2]
        fits = found.startswith(expected)
    else:
        expected, fits = weights, found == weights
    if fits:
        return
    if weights not in named and (len(weights) != _HEX or set(weights) - set(string.hexdigits)):
        expected = f"one of {', '.join(named)}, or a SHA-256"
        remedy = f"{path} is known by weights={found}"
        raise DataError("weights", weights, expected, remedy)
    remedy = f"give another file, or weights={found}"
    raise DataError("weights_file", str(path), f"a file of SHA-256 {expected}", remedy)
