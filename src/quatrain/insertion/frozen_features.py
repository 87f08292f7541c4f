"""Features of a frozen network, computed once for each image and kept in files.

    features = FrozenFeatures(resnet, at=["layer2", "layer3"], cache="features", limit=2000)
    maps = features(images)         # {"layer2": (N, 512, H/8, W/8), "layer3": (N, 1024, ...)}

A file has the features of one image. Its key is the hash of the network, of the names of modules,
and of the image, so that features of other weights or other pixels are never read:

    cache/<16 digits of the network's hash>/<2 digits of the key>/<key>.safetensors

Normalization belongs into the network, whose buffers are hashed. The code of its `forward` is not:
after a change of it use another folder.
"""

import hashlib
from collections.abc import Iterable
from pathlib import Path

import torch
from jaxtyping import Shaped
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.utils._python_dispatch import _get_current_dispatch_mode

from quatrain.insertion.model_hash import (
    Versions,
    are_equal_versions,
    structure_hash,
    tensor_bytes,
    tensor_versions,
    tensors_hash,
)
from quatrain.insertion.module_outputs import Features, outputs_of_modules
from quatrain.nn.find import find
from quatrain.specs import InputError, StoredFileError
from quatrain.specs.errors import shorten
from quatrain.weights.tensor_file import read_tensors, write_tensors

_FORMAT = 1
"""Version of the files; it is part of each key."""

_KEY = "key"
"""The name of the key among the texts of a file."""


class FrozenFeatures:
    """The outputs of some modules of a frozen network, computed once for each image.

    The network is put into evaluation mode, and its parameters need no gradient. This object is no
    `nn.Module`: a network that holds it neither trains nor saves the frozen one, and does not move
    it to another device. Each image is computed alone, so that its features do not depend on the
    others of its batch. Files are read by any process that has the same network; the first one that
    computes an image decides the last digits of its features, which differ between devices.

    While multiply-adds are counted, and on the meta device, features are computed and not kept.

    Args:
        model: the network, which is called with one tensor, a batch of one image.
        at: names of modules, or patterns of names as in `quatrain.find`.
        cache: the folder of the files, created if needed.
        limit: the largest number of different images. Flips double the number of images; random
            crops and colours would make new images, and new files, in each step.

    Raises:
        InputError: if no module matches, or `limit` is not a positive number.

    Example:
        >>> features = quatrain.FrozenFeatures(resnet, at=["layer3"], cache="features", limit=1000)
        >>> features(images)["layer3"].shape
        torch.Size([8, 1024, 14, 14])
    """

    def __init__(
        self, model: nn.Module, at: str | Iterable[str], *, cache: str | Path, limit: int
    ) -> None:
        if type(limit) is not int or limit < 1:
            text = f"limit={shorten(limit)} is not a positive number of images"
            raise InputError(f"{text}; use 2 x images if they are flipped, else images", "limit")
        patterns = (at,) if isinstance(at, str) else tuple(at)
        names = [name for pattern in patterns for name in find(model, pattern)]
        if not names:
            raise InputError("at=[] names no module; name those whose outputs you need", "at")
        self.model: nn.Module = model.requires_grad_(requires_grad=False).eval()
        self.names: tuple[str, ...] = tuple(dict.fromkeys(names))
        self.cache: Path = Path(cache).expanduser().absolute()
        self.limit = limit
        self._keys: set[str] = set()
        self._structure = structure_hash(model)
        self._hash = ""
        self._versions: Versions = []
        self._is_checked = False

    def __call__(self, images: Shaped[Tensor, "n ..."]) -> dict[str, Shaped[Tensor, "n ..."]]:
        """The features of each image by the names of modules, on the device of the images.

        They have no gradient, neither for the network nor for the images.

        Raises:
            InputError: if there is no image; if there are more than `limit` different ones; if a
                module is not called once for each image or returns other than a tensor with the
                batch on its first axis; if the network computes other features in a second call.
            StudyError: if the folder of the files cannot be written.
        """
        if images.ndim == 0 or len(images) == 0:
            text = f"images of shape {tuple(images.shape)} have no image on their first axis"
            raise InputError(f"{text}; pass a batch of at least one", "images")
        if images.is_meta or _get_current_dispatch_mode() is not None:
            features = [self._compute(image) for image in images.detach()]
        else:
            digest = self.model_hash
            features = [self._read_or_compute(image, digest) for image in images.detach().cpu()]
        return {
            name: torch.stack([outputs[name].to(images.device) for outputs in features])
            for name in self.names
        }

    def __repr__(self) -> str:
        """The network's class, the modules, the folder and the number of images."""
        images = f"{len(self._keys):,} of {self.limit:,} images"
        return f"FrozenFeatures({type(self.model).__name__}, at={self.names}, {images})"

    @property
    def model_hash(self) -> str:
        """The SHA-256 of the network and of the names of modules, in hexadecimal.

        Raises:
            InputError: if the network has tensors without values, or other state.
        """
        versions = tensor_versions(self.model)
        if not self._hash or not are_equal_versions(versions, self._versions):
            tensors = tensors_hash(self.model)
            parts = f"{_FORMAT} {self._structure} {tensors} {sorted(self.names)}"
            self._hash = hashlib.sha256(parts.encode()).hexdigest()
            self._versions = versions
        return self._hash

    def _read_or_compute(self, image: Shaped[Tensor, "..."], model_hash: str) -> Features:
        key = _key(image, model_hash)
        self._check_limit(key)
        path = self.cache / model_hash[:16] / key[:2] / f"{key}.safetensors"
        features = self._read(path, key)
        if features is None:
            features = self._compute(image)
            self._check_repeats(image, features)
            write_tensors(path, features, {_KEY: key})
        return features

    def _check_limit(self, key: str) -> None:
        if key not in self._keys and len(self._keys) >= self.limit:
            raise InputError(
                f"limit={self.limit} different images were computed or read, and this is one more; "
                "random crops or colours make a new image each time: use flips only (limit = 2 x "
                "images), or no augmentation (limit = images)",
                "limit",
            )
        self._keys.add(key)

    def _read(self, path: Path, key: str) -> Features | None:
        """The features in a file; None if there is none, or it is damaged or another one."""
        try:
            tensors, texts = read_tensors(path)
        except (OSError, ValueError, SafetensorError, StoredFileError):
            return None
        return tensors if texts == {_KEY: key} and tensors.keys() == {*self.names} else None

    def _compute(self, image: Shaped[Tensor, "..."]) -> Features:
        return outputs_of_modules(self.model, self.names, image)

    def _check_repeats(self, image: Shaped[Tensor, "..."], features: Features) -> None:
        """Check with the first computed image that a second call gives the same features."""
        if self._is_checked:
            return
        for name, output in self._compute(image).items():
            if not torch.equal(tensor_bytes(output), tensor_bytes(features[name])):
                text = f"{name} has another output in a second call, as with functional dropout"
                raise InputError(f"{text}; use a network that is fixed in evaluation mode", name)
        if not are_equal_versions(tensor_versions(self.model), self._versions):
            text = "the model changes a parameter or buffer when it is called"
            raise InputError(f"{text}; use a network that is fixed in evaluation mode", "model")
        self._is_checked = True


def _key(image: Shaped[Tensor, "..."], model_hash: str) -> str:
    """The hash of the network and of an image."""
    start = f"{model_hash} {image.dtype} {tuple(image.shape)}\n"
    digest = hashlib.sha256(start.encode())
    digest.update(tensor_bytes(image).numpy().data)
    return digest.hexdigest()
