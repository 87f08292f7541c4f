"""SHA-256 of a network: of its structure, and of its parameters and buffers.

    structure_hash(network), tensors_hash(network)      # 64 hexadecimal digits each

The structure is the printed network, and the numbers and texts that its modules have as attributes.
The code of `forward` is not part of it.
"""

import hashlib
from collections.abc import Iterator
from itertools import chain

import torch
from jaxtyping import Shaped, UInt8
from torch import Tensor, nn

from quatrain.specs import InputError
from quatrain.weights.tensor_file import check_storable

Versions = list[tuple[Tensor, int, torch.dtype]]
"""The tensors of a network, with the number of changes in place and the dtype of each."""


def structure_hash(model: nn.Module) -> str:
    """The hash of what a network prints, and of the plain attributes of its modules."""
    digest = hashlib.sha256(f"{model}\n".encode())
    for name, module in model.named_modules():
        digest.update(f"{name} {_plain_attributes(module)}\n".encode())
    return digest.hexdigest()


def tensors_hash(model: nn.Module) -> str:
    """The hash of the names, dtypes, shapes and bytes of all parameters and buffers.

    Raises:
        InputError: if one is sparse, quantized or on the meta device, or if the network has state
            besides them, as quantized layers have.
    """
    tensors = dict(named_tensors(model))
    check_storable(tensors)
    for name in model.state_dict():
        if name not in tensors:
            text = f"{name} is neither a parameter nor a buffer, so its values have no hash"
            raise InputError(f"{text}; use a model of parameters and buffers only", name)
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor).numpy().data)
    return digest.hexdigest()


def named_tensors(model: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Parameters and buffers by name; one that is shared has all of its names."""
    return chain(
        model.named_parameters(remove_duplicate=False), model.named_buffers(remove_duplicate=False)
    )


def tensor_bytes(tensor: Shaped[Tensor, "..."]) -> UInt8[Tensor, " bytes"]:
    """The bytes of a tensor, on the CPU."""
    return tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)


def tensor_versions(model: nn.Module) -> Versions:
    """The versions of all tensors; torch does not count changes of `tensor.data`."""
    tensors = (tensor for _, tensor in named_tensors(model))
    return [(x, 0 if x.is_inference() else x._version, x.dtype) for x in tensors]


def are_equal_versions(left: Versions, right: Versions) -> bool:
    """Whether both have the same tensors, unchanged."""
    pairs = zip(left, right, strict=False)
    return len(left) == len(right) and all(a[0] is b[0] and a[1:] == b[1:] for a, b in pairs)


def _plain_attributes(module: nn.Module) -> dict[str, object]:
    """The numbers, texts and sequences of these among a module's attributes, by name."""
    return {
        name: value
        for name, value in sorted(vars(module).items())
        if name != "training" and not name.startswith("_") and _is_plain(value)
    }


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple | list):
        return all(map(_is_plain, value))
    return value is None or type(value) in (bool, int, float, str)
