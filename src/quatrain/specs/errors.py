"""Exceptions of the library.

    QuatrainError            base class; has `field`, `value`, `expected` and `remedy`
     ├─ SpecError            invalid hyper-parameter
     ├─ InputError           invalid argument: the shape of a tensor, a mask, an option
     ├─ DataError            unusable file or folder of input data
     ├─ StudyError           invalid study file, cell name or run folder
     ├─ StoredFileError      damaged file that quatrain wrote: record, checkpoint
     └─ MissingPackageError  missing package of an optional extra

Each message is one sentence; the command line prints it without a traceback.
"""


class QuatrainError(Exception):
    """Base class: an error that states a field, its value, the expected value and a remedy.

    Example:
        >>> print(SpecError("heads", 3, "a divisor of channels=8", "use 1, 2, 4, 8"))
        heads is 3, expected a divisor of channels=8: use 1, 2, 4, 8.
    """

    def __init__(self, field: str, value: object, expected: str, remedy: str) -> None:
        super().__init__(field, value, expected, remedy)
        self.field = field
        self.value = value
        self.expected = expected
        self.remedy = remedy

    def __str__(self) -> str:
        try:
            shown = str(self.value) if not isinstance(self.value, str) else f'"{self.value}"'
        except ValueError:
            shown = "a number with too many digits to print"
        return f"{self.field} is {shown}, expected {self.expected}: {self.remedy}."


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
