"""Where a run that is not done was at work so far: a file beside its checkpoint.

runs/1a2b.../checkpoint.safetensors    what training resumes from
runs/1a2b.../sittings.json             a list of `Sitting`, the latest at the end
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from quatrain.results import Record, ResultStore, Sitting, counted, listed, write_atomically
from quatrain.results.reading import read_regular
from quatrain.specs import StoredFileError, StudyError
from quatrain.study.grid import Run

CHECKPOINT = "checkpoint.safetensors"
"""What training resumes from: of no use, and larger than the model, once there is a record."""

SITTINGS = "sittings.json"

_SITTINGS = TypeAdapter(tuple[Sitting, ...])
_REMEDY = "delete this file"


def read_sittings(folder: Path) -> tuple[Sitting, ...] | None:
    """The sittings that made the checkpoint in `folder`; none if there is no checkpoint.

    Returns:
        None for a checkpoint of an older version, which kept no sittings.

    Raises:
        StoredFileError: if the file is damaged or no regular file.
    """
    if not (folder / CHECKPOINT).exists():
        return ()
    path = folder / SITTINGS
    content = read_regular(path, _REMEDY)
    if content is None:
        return None
    try:
        return _SITTINGS.validate_json(content)
    except (ValidationError, StudyError) as error:
        expected = "the list of sittings that training wrote"
        raise StoredFileError("sittings", str(path), expected, _REMEDY) from error


def write_sittings(folder: Path, sittings: Iterable[Sitting]) -> None:
    """Write the sittings of a run."""
    text = _SITTINGS.dump_json(tuple(sittings), indent=2).decode()
    write_atomically(folder / SITTINGS, text)


def has_other_code(run: Run, then: Sitting | Record) -> bool:
    """Whether code of the run's own specs differs from that of a sitting or record."""
    if run.code is None or then.code is None:
        return False
    return then.spec_code != run.code.spec_code


def refuse_half_trained(runs: Sequence[Run], store: ResultStore) -> None:
    """Check that no run would resume from a checkpoint of other code of its own specs.

    Raises:
        StudyError: if one would.
        StoredFileError: if sittings are damaged.
    """
    changed = [run for run in runs if _is_half_trained(run, store.folder(run.identity))]
    if changed:
        spec = type(changed[0].spec).__name__
        first = store.folder(changed[0].identity) / CHECKPOINT
        which = str(first) if len(changed) == 1 else f"their checkpoints (as {first})"
        raise StudyError(
            f"code of {spec}",
            f"changed since the training of {counted(len(changed), 'run')} began in {store.root} "
            f"({listed([run.labels[0] for run in changed])})",
            "the code that half-trained runs began with",
            f"restore the code, raise the `revision` of {spec} to run its cells anew, delete "
            f"{which} to begin again, or leave these cells out with --cells",
        )


def _is_half_trained(run: Run, folder: Path) -> bool:
    return any(has_other_code(run, each) for each in read_sittings(folder) or ())
