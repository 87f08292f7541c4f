"""Safetensors files with a SHA-256 checksum in their header.

    write_tensors(path, {"weight": tensor}, {"note": "text"})
    read_tensors(path)      ->  the same tensors and texts, or an error if a byte has changed

The checksum, under "sha256" in the metadata, is that of the whole file with zeros in place of the
checksum. Files of versions without a checksum are read too. The metadata also hold the version of
the file format; a file of a later version is refused.
"""

import hashlib
import re
import stat
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save as to_bytes
from torch import Tensor

from quatrain.results import write_atomically
from quatrain.specs import StoredFileError

_FORMAT_KEY = "checkpoint_format"
_FORMAT = 1
"""Version of the file format; increase it when older versions of quatrain would misread a file."""

_KEY = "sha256"
_RESERVED = frozenset({_FORMAT_KEY, _KEY})
_ZEROS = "0" * 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""Matches the key only: quotes within texts are escaped, and a tensor's entry is an object."""

_LENGTH_BYTES = 8
_LONGEST_HEADER = 100_000_000
"""Most bytes of a header that safetensors reads."""
_CHUNK_BYTES = 1 << 20


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts atomically.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    metadata = {**texts, _FORMAT_KEY: str(_FORMAT), _KEY: _ZEROS}
    content = bytearray(to_bytes(_separate(tensors), metadata=metadata))
    header = _LENGTH_BYTES + int.from_bytes(content[:_LENGTH_BYTES], "little")
    match = _CHECKSUM.search(content, 0, header)
    assert match is not None  # noqa: S101 - it was just written
    start, end = match.span(1)
    del match  # it locks the size of the bytearray
    content[start:end] = hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts that `write_tensors` wrote.

    Raises:
        StoredFileError: if a newer version of quatrain wrote the file.
        ValueError: if the checksum does not match, or `path` is not a regular file.
        SafetensorError: if it is not a safetensors file.
        OSError: if it cannot be read.
    """
    verified = _verify(path)
    with safe_open(path, framework="pt") as file:
        texts: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if bool(texts.keys() & _RESERVED) != verified:
        raise ValueError("its checksum is damaged")
    _refuse_newer(path, int(texts.get(_FORMAT_KEY, _FORMAT)))
    return tensors, {name: text for name, text in texts.items() if name not in _RESERVED}


def _refuse_newer(path: Path, version: int) -> None:
    if version > _FORMAT:
        expected = f"at most {_FORMAT}, as a newer version of quatrain wrote the file"
        raise StoredFileError(f"the format of {path}", version, expected, "use that version")


def _verify(path: Path) -> bool:
    """Whether the file has a checksum; raises if the checksum does not match."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would block
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        length = file.read(_LENGTH_BYTES)
        header = file.read(min(int.from_bytes(length, "little"), _LONGEST_HEADER))
        match = _CHECKSUM.search(header)
        if match is None:
            return False
        zeroed = header[: match.start(1)] + _ZEROS.encode() + header[match.end(1) :]
        digest = hashlib.sha256(length + zeroed)
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    if digest.hexdigest() != match[1].decode():
        raise ValueError("its checksum does not match its content")
    return True


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, because safetensors refuses tensors that share memory."""
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}
