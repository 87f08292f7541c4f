"""Save mixers, ResNet, detector, segmenter and translator with their spec, and load them.

    detector.save_pretrained("runs/mine")
    detector = Detector.from_pretrained("runs/mine")       # in evaluation mode
    detector = Detector.from_pretrained("owner/name")      # from the Hugging Face hub

    model.safetensors     the tensors, with a SHA-256 of the file
    model.json            class, spec, arguments of `spec.build`, versions, notes

Reading executes no code from the files. The tensors are compared with the spec before a module of
that size is created.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Self, cast

import torch
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError
from safetensors import SafetensorError
from torch import Tensor, nn

from quatrain.results.files import read_text, write_atomically
from quatrain.specs import InputError, QuatrainError, Spec, StoredFileError
from quatrain.weights.building import expected_tensors
from quatrain.weights.hub import download, is_repository
from quatrain.weights.matching import describe_misfits, misfits
from quatrain.weights.tensor_file import read_tensors, write_tensors

_TENSORS, _SUFFIX = "model.safetensors", ".safetensors"
_OTHER_SUFFIXES = {".pth", ".pt", ".bin", ".ckpt", ".json"}
_FORMAT = 1
"""Version of the sidecar; increase it when older versions of quatrain would misread a file."""

_REMEDY = "save the model again, or correct the path"


class Sidecar(BaseModel):
    """The JSON file next to the tensors."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="ignore", strict=True)

    format: int = _FORMAT
    module: str
    """Name of the class."""
    spec_name: str
    revision: int
    """Revision of the spec's class."""
    spec: dict[str, JsonValue]
    arguments: dict[str, int]
    """Arguments of `spec.build`, such as the number of classes."""
    versions: dict[str, str] = {}
    """Versions of quatrain and torch that wrote the files."""
    notes: dict[str, JsonValue] = {}
    """Free text about the weights: their source, names of classes."""

    @property
    def digest(self) -> str:
        """SHA-256 of the fields that determine the module; it is stored with the tensors, too."""
        parts = [self.module, self.spec, self.arguments]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


class SavedModule(nn.Module):
    """Base of modules that are created by `spec.build` and saved with their spec."""

    spec: Any
    spec_class: ClassVar[type[Spec]]

    def _build_arguments(self) -> dict[str, int]:
        """The arguments with which `spec.build` creates this module."""
        return {}

    def save_pretrained(
        self, folder: str | Path, *, notes: Mapping[str, JsonValue] | None = None
    ) -> None:
        """Write model.safetensors and model.json to a folder, which is created if needed.

        Args:
            folder: the folder, or the path of the file of tensors, which ends in .safetensors.
            notes: texts and numbers to store in model.json, such as the source of the weights.

        Raises:
            InputError: if the path ends in .pth or the like, or if the module has other tensors
                than its spec describes, as after `quatrain.insert`.
            StudyError: if the folder cannot be written.
        """
        path = _tensor_path(Path(folder))
        spec, state = cast("Spec", self.spec), self.state_dict()
        build = partial(cast("Any", without_initial_weights(spec)).build, **self._build_arguments())
        problems = misfits(state, expected_tensors(build, len(state)))
        if problems:
            text = f"the module is not the one of its spec ({describe_misfits(problems)})"
            raise InputError(f"{text}; save module.state_dict() instead", "module")
        sidecar = Sidecar(
            module=type(self).__name__,
            spec_name=type(spec).__name__,
            revision=spec.revision,
            spec=json.loads(spec.to_json()),
            arguments=self._build_arguments(),
            versions=_versions(),
            notes=dict(notes or {}),
        )
        write_tensors(path, state, {"module": sidecar.digest})
        write_atomically(path.with_suffix(".json"), sidecar.model_dump_json(indent=2) + "\n")

    @classmethod
    def from_pretrained(cls, source: str | Path, *, revision: str | None = None) -> Self:
        """Create the module that `save_pretrained` wrote, in evaluation mode and of the same dtype.

        A spec that names initial weights is built without them, so nothing is downloaded for it.
        Torch's random state is not changed.

        Args:
            source: a folder, a file that ends in .safetensors with a .json next to it, or a
                repository of the Hugging Face hub, "owner/name" (needs huggingface_hub).
            revision: branch, tag or commit of that repository.

        Raises:
            InputError: if the path ends in .pth or the like.
            StoredFileError: if a file is missing, damaged, of another class, or of a newer version
                of quatrain; or if tensors do not fit the spec, with their names.
            DataError: if the repository cannot be downloaded.
            MissingPackageError: if huggingface_hub is needed and not installed.
        """
        path = _locate(source, revision)
        sidecar = _read_sidecar(path.with_suffix(".json"))
        if sidecar.module != cls.__name__:
            text = f"{path} contains a {sidecar.module}, not a {cls.__name__}"
            raise StoredFileError(f"{text}; call {sidecar.module}.from_pretrained", str(path))
        tensors = _read_tensors(path, sidecar)
        spec = _read_spec(cls.spec_class, sidecar, path)
        module = cast("Self", _build(spec, sidecar.arguments, tensors, path))
        for name, value in module.state_dict(keep_vars=True).items():
            if value.dtype != tensors[name].dtype:
                value.data = value.data.to(tensors[name].dtype)
        module.load_state_dict(tensors)
        return module.eval()


def _versions() -> dict[str, str]:
    # By name, since an import statement would point up, to the package that imports all others.
    return {"quatrain": import_module("quatrain").__version__, "torch": str(torch.__version__)}


def _tensor_path(path: Path) -> Path:
    """The file of tensors: the path itself, or in the folder at the path."""
    if path.suffix in _OTHER_SUFFIXES:
        text = f"{path} is neither a folder nor a {_SUFFIX} file"
        raise InputError(f"{text}; use {path.with_suffix(_SUFFIX).name}", "path")
    return path if path.suffix == _SUFFIX else path / _TENSORS


def _locate(source: str | Path, revision: str | None) -> Path:
    """The file of tensors in a folder or a downloaded repository."""
    path = Path(source)
    if path.exists() or not is_repository(str(source)):
        return _tensor_path(path)
    names = (_TENSORS, str(Path(_TENSORS).with_suffix(".json")))
    return download(str(source), names, revision)[0]


def _read_sidecar(path: Path) -> Sidecar:
    text = read_text(path, _REMEDY)
    try:
        sidecar = Sidecar.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(map(str, problem["loc"])) or "the file"
        message = f"{path} does not describe a model ({field}: {problem['msg']}); {_REMEDY}"
        raise StoredFileError(message, str(path)) from error
    if sidecar.format > _FORMAT:
        text = f"a newer version of quatrain wrote {path}, in format {sidecar.format} instead of"
        raise StoredFileError(f"{text} {_FORMAT}; use that version", str(path))
    return sidecar


def _read_tensors(path: Path, sidecar: Sidecar) -> dict[str, Tensor]:
    try:
        tensors, texts = read_tensors(path)
    except (SafetensorError, ValueError, OSError) as error:
        reason = " ".join(str(error).split())[:200].rstrip(".")
        message = f"{path} is not an undamaged file of tensors ({reason}); {_REMEDY}"
        raise StoredFileError(message, str(path)) from error
    if texts.get("module", sidecar.digest) != sidecar.digest:
        text = f"{path} and {path.with_suffix('.json').name} are of different models"
        raise StoredFileError(f"{text}; {_REMEDY}", str(path))
    return tensors


def _read_spec(spec_class: type[Spec], sidecar: Sidecar, path: Path) -> Spec:
    """The spec, without initial weights."""
    file = path.with_suffix(".json")
    if sidecar.spec_name != spec_class.__name__:
        text = f"{file} has a {sidecar.spec_name}, and a {spec_class.__name__} is needed"
        raise StoredFileError(f"{text}; {_REMEDY}", str(file))
    try:
        spec = spec_class.from_json(json.dumps(sidecar.spec))
    except QuatrainError as error:
        written = sidecar.versions.get("quatrain", "an unknown version")
        text = f"{file} has a spec that this version cannot read ({error})"
        raise StoredFileError(f"{text}; quatrain {written} wrote it", str(file)) from error
    if sidecar.revision != spec.revision:
        warnings.warn(
            f"{file} has revision {sidecar.revision} of {sidecar.spec_name}, and this version of "
            f"quatrain has revision {spec.revision}: fields may have had another meaning",
            stacklevel=3,
        )
    return without_initial_weights(spec)


def without_initial_weights(spec: Spec) -> Spec:
    """The spec with its fields of initial weights, and those of the specs in it, set to None."""
    changes: dict[str, Any] = dict.fromkeys(getattr(spec, "initial_weights", ()))
    for name, value in spec:
        if isinstance(value, Spec):
            changes[name] = without_initial_weights(value)
    return spec.model_copy(update=changes) if changes else spec


def _build(
    spec: Any, arguments: dict[str, int], tensors: Mapping[str, Tensor], path: Path
) -> nn.Module:
    """A module of the spec, unless the tensors do not fit it."""

    def build() -> nn.Module:
        return spec.build(**arguments)

    try:
        expected = expected_tensors(build, len(tensors))
    except ValueError as error:
        text = f"{path.with_suffix('.json')} describes no model ({error})"
        raise StoredFileError(f"{text}; {_REMEDY}", str(path)) from error
    problems = misfits(tensors, expected)
    if problems:
        text = f"{path} does not fit its spec ({describe_misfits(problems)})"
        raise StoredFileError(f"{text}; {_REMEDY}", str(path))
    with torch.random.fork_rng(devices=[]):
        return build()
