"""Sessions of a run that is not done: where it was trained so far, and why it last failed.

checkpoint.safetensors    what training resumes from
sessions.json             a list of `Session`, the latest at the end

They lie in the folder of the latest attempt, as `ResultStore.files` gives it.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from quatrain.results import CHECKPOINT, ResultStore, Session, write_atomically
from quatrain.results.files import OLD_SESSIONS, SESSIONS, read_regular
from quatrain.specs import StoredFileError, StudyError
from quatrain.study.grid import Run
from quatrain.study.protocol import Event

KILLED: Literal["killed"] = "killed"
"""The reason of a failure after which a run may simply resume."""

_LIST = TypeAdapter(tuple[Session, ...])
_REMEDY = "delete this file"


def read_sessions(folder: Path) -> tuple[Session, ...] | None:
    """The sessions that wrote the checkpoint in `folder`; none without a checkpoint.

    None for a checkpoint of an old version, which stored no sessions.
    """
    if not (folder / CHECKPOINT).exists():
        return ()
    path = folder / SESSIONS
    if not path.exists() and (folder / OLD_SESSIONS).exists():
        path = folder / OLD_SESSIONS
    content = read_regular(path, _REMEDY)
    if content is None:
        return None
    try:
        return _LIST.validate_json(content)
    except (ValidationError, StudyError) as error:
        message = f"{path} is not the list of sessions that training wrote; {_REMEDY}"
        raise StoredFileError(message, str(path)) from error


def write_sessions(folder: Path, sessions: Iterable[Session]) -> None:
    """Write the sessions of a run."""
    text = _LIST.dump_json(tuple(sessions), indent=2).decode()
    write_atomically(folder / SESSIONS, text)
    (folder / OLD_SESSIONS).unlink(missing_ok=True)


def earlier_failure(run: Run, store: ResultStore) -> Event | None:
    """The failure of an earlier session as an event; None if the run may start or resume."""
    failure = store.failure(run.identity)
    if failure is None or failure.reason == KILLED:
        return None
    return run.event("failed", step=failure.step, reason=failure.reason, message=failure.message)
