"""Tensors by name in one safetensors file that carries its own SHA-256.

    write_tensors(path, {"weight": tensor}, {"note": "text"})
    read_tensors(path)      ->  the same two, or an error if a byte has changed

The checksum is of the whole file with zeros in its own place in the header, where any reader of
safetensors finds it under "sha256". Files from before there was one are read without it. Beside it
stands the version of the format; a file of a later one is refused.
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
"""The version of what is in these files, to be raised when an older quatrain would misread it."""

_KEY = "sha256"
_OWN = frozenset({_FORMAT_KEY, _KEY})
_BLANK = "0" * 64
_CHECKSUM = re.compile(rb'"sha256":"([0-9a-f]{64})"')
"""It meets the key alone: quotes within texts are escaped, and a tensor's entry is no text."""

_SIZE = 8
_LONGEST_HEADER = 100_000_000
"""Bytes of a header that safetensors reads at most."""
_PIECE = 1 << 20


def write_tensors(path: Path, tensors: dict[str, Tensor], texts: dict[str, str]) -> None:
    """Write tensors and texts, whole or not at all.

    Raises:
        StudyError: if the disk is full or the folder cannot be written.
    """
    metadata = {**texts, _FORMAT_KEY: str(_FORMAT), _KEY: _BLANK}
    content = bytearray(to_bytes(_separate(tensors), metadata=metadata))
    header = _SIZE + int.from_bytes(content[:_SIZE], "little")
    found = _CHECKSUM.search(content, 0, header)
    assert found is not None  # noqa: S101 - it was just written
    start, end = found.span(1)
    del found  # a bytearray that is looked at keeps its size
    content[start:end] = hashlib.sha256(content).hexdigest().encode()
    write_atomically(path, content)


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and texts that `write_tensors` wrote.

    Raises:
        StoredFileError: if a newer version of quatrain wrote it.
        ValueError: if the checksum is not that of the content, or it is no regular file.
        SafetensorError: if it is no such file.
        OSError: if it cannot be read.
    """
    verified = _verify(path)
    with safe_open(path, framework="pt") as file:
        texts: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if bool(texts.keys() & _OWN) != verified:
        raise ValueError("its checksum is damaged")
    _refuse_newer(path, int(texts.get(_FORMAT_KEY, _FORMAT)))
    return tensors, {name: text for name, text in texts.items() if name not in _OWN}


def _refuse_newer(path: Path, version: int) -> None:
    if version > _FORMAT:
        expected = f"at most {_FORMAT}, as a newer version of quatrain wrote the file"
        raise StoredFileError(f"the format of {path}", version, expected, "use that version")


def _verify(path: Path) -> bool:
    """Whether there is a checksum; that it is the right one."""
    if not stat.S_ISREG(path.stat().st_mode):  # opening a pipe would wait for its other end
        raise ValueError("it is no regular file")
    with path.open("rb") as file:
        size = file.read(_SIZE)
        header = file.read(min(int.from_bytes(size, "little"), _LONGEST_HEADER))
        found = _CHECKSUM.search(header)
        if found is None:
            return False
        blanked = header[: found.start(1)] + _BLANK.encode() + header[found.end(1) :]
        digest = hashlib.sha256(size + blanked)
        while piece := file.read(_PIECE):
            digest.update(piece)
    if digest.hexdigest() != found[1].decode():
        raise ValueError("its content is not that of its checksum")
    return True


def _separate(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Copies, since the format refuses tensors that share memory."""
    return {name: value.detach().contiguous().clone() for name, value in tensors.items()}
