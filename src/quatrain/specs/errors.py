"""What can go wrong, as one family of exceptions whose message is always one sentence.

    QuatrainError
     ├─ SpecError         a hyper-parameter that contradicts itself, its neighbours or its type
     ├─ InputError        a tensor argument of the wrong shape, or masks that do not fit
     ├─ DataError         a file or folder of the user's that cannot be used as data
     ├─ StudyError        a study file, a cell name or a run folder that cannot be used
     ├─ StoredFileError   a file that quatrain wrote (record, checkpoint) and that is damaged now
     └─ MissingPackageError  a package of an optional extra that is not installed

The command line prints that sentence; whoever calls the library finds its parts as attributes.
"""


class QuatrainError(Exception):
    """An error that names the field, its value, what was expected and what to do about it.

    Example:
        >>> print(SpecError("heads", 3, "a divisor of the 128 channels", "choose 1, 2, 4, 8"))
        heads is 3, expected a divisor of the 128 channels: choose 1, 2, 4, 8.
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
            shown = "a number of more digits than Python writes"
        return f"{self.field} is {shown}, expected {self.expected}: {self.remedy}."


class SpecError(QuatrainError):
    """A hyper-parameter that contradicts itself, its neighbours or its type."""


class InputError(QuatrainError):
    """A tensor argument of the wrong shape, or masks that do not fit the operands."""


class DataError(QuatrainError):
    """A file or folder of the user's that cannot be used as data."""


class StudyError(QuatrainError):
    """A study file, a cell name or a run folder that cannot be used."""


class StoredFileError(QuatrainError):
    """A file that quatrain itself wrote and that is damaged now."""


class MissingPackageError(QuatrainError, ImportError):
    """A package that one of quatrain's extras installs and that is not installed."""
