"""Read the tensors of a file that `torch.save` wrote, without executing code from it.

    file = read_torch_file(Path("faster_rcnn.pth"))
    file.tensors        # {"backbone.conv1.weight": tensor, ...}
    file.meta           # numbers, texts and containers that were stored with the tensors

Such a file is a pickle: a program that may call any function. torch's weights-only reader calls
those of an allow-list only. Checkpoints of mmcv and mmengine also contain numpy values, histories
of losses and configurations; they are read as placeholders, and their classes are not imported.
"""

import re
import stat
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from quatrain.specs import DataError, QuatrainError
from quatrain.weights.tensor_file import read_tensors

_LONGEST_REASON = 200
_ZIP = b"PK\x03\x04"


class _Placeholder:
    """An object without content, in the place of one that is no tensor."""

    def __new__(cls, *_: object, **__: object) -> Self:
        return object.__new__(cls)

    def __setstate__(self, state: object) -> None:
        """Ignore the content."""


_PLACEHOLDERS = (
    "numpy.dtype",
    "numpy.ndarray",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "mmengine.logging.history_buffer.HistoryBuffer",
    "builtins.getattr",  # as which a history stores its methods; the placeholder calls nothing
)
_DICTIONARIES = ("mmengine.config.config.ConfigDict", "mmcv.utils.config.ConfigDict", "addict.Dict")
_ALLOWED: list[Any] = [
    *((_Placeholder, name) for name in _PLACEHOLDERS),
    *((OrderedDict, name) for name in (*_DICTIONARIES, "addict.addict.Dict")),
]
"""Names that a file may use in addition to torch's allow-list, and what they are read as."""


@dataclass(frozen=True)
class TorchFile:
    """The content of a file: tensors by name, and the values that were stored with them."""

    tensors: dict[str, Tensor]
    meta: dict[str, Any]


def read_torch_file(path: Path) -> TorchFile:
    """Read a state_dict, or a checkpoint that has one under "state_dict"; also .safetensors.

    The prefix "module." of `DataParallel` is removed from the names. Tensors are on the CPU.

    Raises:
        DataError: if the file is missing, truncated or damaged, has no tensors by name, or
            contains objects other than tensors, numbers, texts and containers of these.
    """
    content = _load(path)
    state = content.get("state_dict", content) if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not state or not all(map(_is_named, state.items())):
        text = f"{path} contains no state_dict (tensors by name)"
        raise DataError(f"{text}; save model.state_dict()", str(path))
    for name, tensor in state.items():
        problem = _problem(tensor)
        if problem is not None:
            text = f"{name[:100]} in {path} {problem}"
            raise DataError(f"{text}; save the dense state_dict of a model", str(path))
    parallel = all(name.startswith("module.") for name in state)
    tensors = {name.removeprefix("module.") if parallel else name: state[name] for name in state}
    meta = {} if state is content else content.get("meta")
    return TorchFile(tensors, dict(meta) if isinstance(meta, Mapping) else {})


def _is_named(item: tuple[object, object]) -> bool:
    return isinstance(item[0], str) and isinstance(item[1], Tensor)


def _problem(tensor: Tensor) -> str | None:
    """The reason why a tensor is not used; views that repeat few numbers could fill the memory."""
    if tensor.is_meta:
        return "has no values"
    if tensor.is_nested or tensor.is_quantized or tensor.layout != torch.strided:
        return "is sparse, nested or quantized"
    stored = tensor.untyped_storage().nbytes()
    return "has more elements than numbers" if tensor.nbytes > stored else None


def _reason(error: Exception) -> str:
    """The reason of an error, without torch's advice to load the file unsafely."""
    advice, _, reason = str(error).rpartition("WeightsUnpickler error:")
    if not advice and "weights_only" in reason:
        return "it contains no pickle of tensors"
    if isinstance(error, EOFError):
        return "it ends too early"
    line = next(iter(reason.strip().splitlines()), "").partition(". ")[0]
    return line[:_LONGEST_REASON].rstrip(".") or type(error).__name__


def _begins_as_of_torch(path: Path) -> bool:
    """Whether a file begins as a zip archive or a pickle of protocol 2 or higher, or is empty."""
    with path.open("rb") as file:
        start = file.read(2)
    return b"PK".startswith(start) or start[:1] == b"\x80"


def check_archive(path: Path) -> None:
    """Check that a file is regular and, if it is a zip archive, that it has no compressed files.

    torch.save compresses nothing, and a small file of zeros could fill the memory.

    Raises:
        ValueError: if it is a pipe or the like, or if the files in it are larger than itself.
        OSError: if it cannot be read.
        zipfile.BadZipFile: if the archive is damaged.
    """
    info = path.stat()
    if not stat.S_ISREG(info.st_mode):  # opening a pipe would block
        raise ValueError("it is not a regular file")
    with path.open("rb") as file:
        if file.read(len(_ZIP)) != _ZIP:
            return
        with zipfile.ZipFile(file) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
    if size > info.st_size:
        raise ValueError(f"its parts have {size:,} bytes, and it has {info.st_size:,}")


def _load(path: Path) -> Any:
    """The content of a file, or a DataError; unpickling hostile content may raise any exception."""
    try:
        check_archive(path)
        if path.suffix == ".safetensors":
            return read_tensors(path)[0]
        with warnings.catch_warnings(), torch.serialization.safe_globals(_ALLOWED):
            warnings.simplefilter("ignore")  # about another pickle protocol
            return torch.load(path, map_location="cpu", weights_only=True)
    except QuatrainError:
        raise
    except FileNotFoundError as error:
        raise DataError(f"{path} does not exist; correct the path", str(path)) from error
    except Exception as error:
        name = re.search(r"GLOBAL (\S+)", str(error))
        if name is not None:
            text = f"{path} contains {name[1][:100]}, which is neither a tensor, a number nor text"
            remedy = "nothing of the file was executed; save model.state_dict() alone"
            raise DataError(f"{text}; {remedy}", str(path)) from error
        readable = path.is_file() and not isinstance(error, OSError)
        if readable and path.suffix != ".safetensors" and not _begins_as_of_torch(path):
            text = f"{path} is no checkpoint of torch"
            raise DataError(f"{text}; pass a file that torch.save wrote", str(path)) from error
        text = f"{path} is not an undamaged file of torch.save ({_reason(error)})"
        raise DataError(f"{text}; copy or save it again", str(path)) from error
