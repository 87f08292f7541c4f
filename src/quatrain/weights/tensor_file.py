"""Safetensors files with a SHA-256 checksum in their header.

    write_tensors(path, {"weight": tensor}, {"note": "text"})
    read_tensors(path)      ->  the same tensors and texts, or an error if a byte has changed

The checksum, under "sha256" in the metadata, is that of the whole file with zeros in place of the
checksum. Files of versions without a checksum are read too. The metadata also contain the version
of the file format; a file of a later version is refused.
"""

import hashlib
import re
import stat
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from quatrain.results import write_atomically
from quatrain.specs import InputError, StoredFileError

_FORMAT_KEY = "checkpoint_format"
_FORMAT = 1
"""Version of the file format; increase it when older versions of quatrain would misread a file."""

_LONGEST_HEADER = 100_000_000
"""Bytes of the longest header that safetensors reads."""

_KEY = "sha256"
_RESERVED = frozenset({_FORMAT_KEY, _KEY})
_ZEROS = b"0" * 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Matches the key only: quotes within texts are escaped, and a tensor's entry is an object."""


def check_storable(tensors: Mapping[str, object]) -> None:
    """Check that all are dense tensors with values.

    Raises:
        InputError: if one is not, with its name.
    """
    for name, value in tensors.items():
        if not isinstance(value, Tensor):
            text = f"{name} is a {type(value).__name__}, not a tensor"
            raise InputError(f"{text}; use a module without quantized layers", name)
        if value.is_meta:
            text = f"{name} has no values, as it is on the meta device"
            remedy = "create the module on a CPU or a GPU, or call to_empty() and load its weights"
            raise InputError(f"{text}; {remedy}", name)
        if value.is_nested or value.is_quantized or value.layout != torch.strided:
            text = f"{name} is sparse, nested or quantized"
            raise InputError(f"{text}; convert it to a dense tensor", name)


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts atomically.

    Raises:
        InputError: if a tensor is not dense or has no values.
        StudyError: if the folder cannot be written.
    """
    check_storable(tensors)
    # Copies, because safetensors refuses tensors that share memory.
    separate = {name: value.detach().contiguous().clone() for name, value in tensors.items()}
    metadata = {**texts, _FORMAT_KEY: str(_FORMAT), _KEY: _ZEROS.decode()}
    content = bytearray(to_bytes(separate, metadata=metadata))
    span = _checksum_span(content)
    assert span is not None  # noqa: S101 - it was just written
    content[slice(*span)] = hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts that `write_tensors` wrote.

    Raises a StoredFileError if a newer version of quatrain wrote the file; a ValueError,
    SafetensorError or OSError if it is damaged or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
        raise ValueError("it is not a regular file")
    is_stamped = _check_checksum(path)
    try:
        with safe_open(path, framework="pt") as file:
            texts: dict[str, str] = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (MemoryError, RuntimeError) as error:
        raise ValueError("its tensors do not fit into memory") from error
    if not is_stamped and texts.keys() & _RESERVED:
        raise ValueError("its checksum is damaged")
    version = int(texts.get(_FORMAT_KEY, _FORMAT))
    if version > _FORMAT:
        raise StoredFileError(
            f"a newer version of quatrain wrote {path}, in format {version} instead of {_FORMAT}; "
            "use that version",
            str(path),
        )
    return tensors, {name: text for name, text in texts.items() if name not in _RESERVED}


def _check_checksum(path: Path) -> bool:
    """Whether the file has a checksum, which is right; ValueError if it is wrong."""
    with path.open("rb") as file:
        length = file.read(8)
        header = length + file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
        span = _checksum_span(header)
        if span is None:
            return False
        digest = hashlib.sha256(header[: span[0]] + _ZEROS + header[span[1] :])
        while block := file.read(2**20):
            digest.update(block)
    if digest.hexdigest().encode() != header[slice(*span)]:
        raise ValueError("its checksum does not match its content")
    return True


def _checksum_span(content: bytes | bytearray) -> tuple[int, int] | None:
    """Start and end of the checksum in the header of a file."""
    header = 8 + int.from_bytes(content[:8], "little")
    match = _CHECKSUM.search(bytes(content[:header]))
    return match and match.span(1)
