"""Where a run that is not done was at work so far: a file beside its checkpoint.

runs/1a2b.../checkpoint.safetensors    what training resumes from
runs/1a2b.../sessions.json             a list of `Session`, the latest at the end
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from quatrain.results import Record, ResultStore, Session, counted, listed, write_atomically
from quatrain.results.reading import read_regular
from quatrain.specs import StoredFileError, StudyError
from quatrain.study.grid import Run

CHECKPOINT = "checkpoint.safetensors"
"""What training resumes from: of no use, and larger than the model, once there is a record."""

SESSIONS = "sessions.json"
_OLD_SESSIONS = "sittings.json"
"""The name of the file before version 0.2, still read."""

_SESSIONS = TypeAdapter(tuple[Session, ...])
_REMEDY = "delete this file"


def read_sessions(folder: Path) -> tuple[Session, ...] | None:
    """The sessions that made the checkpoint in `folder`; none if there is no checkpoint.

    Returns:
        None for a checkpoint of an older version, which kept no sessions.

    Raises:
        StoredFileError: if the file is damaged or no regular file.
    """
    if not (folder / CHECKPOINT).exists():
        return ()
    path = folder / SESSIONS
    if not path.exists() and (folder / _OLD_SESSIONS).exists():
        path = folder / _OLD_SESSIONS
    content = read_regular(path, _REMEDY)
    if content is None:
        return None
    try:
        return _SESSIONS.validate_json(content)
    except (ValidationError, StudyError) as error:
        expected = "the list of sessions that training wrote"
        raise StoredFileError("sessions", str(path), expected, _REMEDY) from error


def write_sessions(folder: Path, sessions: Iterable[Session]) -> None:
    """Write the sessions of a run."""
    text = _SESSIONS.dump_json(tuple(sessions), indent=2).decode()
    write_atomically(folder / SESSIONS, text)
    (folder / _OLD_SESSIONS).unlink(missing_ok=True)


def remove_checkpoint(folder: Path) -> None:
    """Remove the checkpoint of a finished run, and its sessions."""
    for name in (CHECKPOINT, SESSIONS):
        (folder / name).unlink(missing_ok=True)


def has_other_code(run: Run, then: Session | Record) -> bool:
    """Whether code of the run's own specs differs from that of a session or record."""
    if run.code is None or then.code is None:
        return False
    return then.spec_code != run.code.spec_code


def refuse_half_trained(runs: Sequence[Run], store: ResultStore) -> None:
    """Check that no run would resume from a checkpoint of other code of its own specs.

    Raises:
        StudyError: if one would.
        StoredFileError: if sessions are damaged.
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
    return any(has_other_code(run, each) for each in read_sessions(folder) or ())
