"""Exceptions of the library.

    QuatrainError            base class; has the name of the `field`
     ├─ SpecError            invalid hyper-parameter
     ├─ InputError           invalid argument: the shape of a tensor, a mask, an option
     ├─ DataError            unusable file or folder of input data
     ├─ StudyError           invalid study file, cell name or run folder
     ├─ StoredFileError      damaged file that quatrain wrote: record, checkpoint
     └─ MissingPackageError  missing package of an optional extra

A message is one sentence of what is wrong and what to do; the command line prints it without a
traceback. It may quote a file: line ends and control characters are escaped, and the middle of a
very long message is left out.
"""

import re

_LONGEST_VALUE = 80
_LONGEST_MESSAGE = 4000
_NOTE_LENGTH = 50
"""Characters of the note in the middle of a text that was cut."""

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class QuatrainError(Exception):
    """Base class: one sentence, and the name of the field that it is about.

    Example:
        >>> error = SpecError("heads=3 does not divide channels=8; use 1, 2, 4, 8", "heads")
        >>> print(error)
        heads=3 does not divide channels=8; use 1, 2, 4, 8
        >>> error.field
        'heads'
    """

    def __init__(self, message: str, field: str) -> None:
        message = _one_line(message)
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return self.message


def cut_middle(text: str, limit: int) -> str:
    """A text of at most about `limit` characters, with a note in place of its middle."""
    if len(text) <= limit:
        return text
    side = (limit - _NOTE_LENGTH) // 2
    return f"{text[:side]} … [{len(text) - 2 * side:,} characters left out] … {text[-side:]}"


def _one_line(text: str) -> str:
    escaped = _CONTROL.sub(lambda found: repr(found[0])[1:-1], cut_middle(text, _LONGEST_MESSAGE))
    return cut_middle(escaped, _LONGEST_MESSAGE)


def shorten(value: object) -> str:
    """The repr of a value for an error message, at most 80 characters of it."""
    try:
        text = repr(value)
    except ValueError:  # an integer of more than 4,300 digits
        return f"a very large {type(value).__name__}"
    return text if len(text) <= _LONGEST_VALUE else f"{text[:_LONGEST_VALUE]}..."


class SpecError(QuatrainError):
    """A hyper-parameter of the wrong type or value, or in conflict with another."""


class InputError(QuatrainError):
    """An invalid argument: a tensor of the wrong shape, a mask that does not fit, an option."""


class DataError(QuatrainError):
    """A file or folder of input data that cannot be used."""


class StudyError(QuatrainError):
    """An invalid study file, cell name or run folder."""


class StoredFileError(QuatrainError):
    """A damaged file that quatrain wrote: a record or a checkpoint."""


class MissingPackageError(QuatrainError, ImportError):
    """A package of one of quatrain's extras that is not installed."""
