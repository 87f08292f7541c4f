"""Specs (frozen, typed hyper-parameters), attention terms, and the errors of the library."""

from quatrain.specs.errors import (
    DataError,
    InputError,
    MissingPackageError,
    QuatrainError,
    SpecError,
    StoredFileError,
    StudyError,
)
from quatrain.specs.extras import missing_package, name_missing_extra
from quatrain.specs.spec import Spec, canonical, identity, identity_by_seed
from quatrain.specs.terms import ALL_TERM_SETS, Term, Terms

__all__ = [
    "ALL_TERM_SETS",
    "DataError",
    "InputError",
    "MissingPackageError",
    "QuatrainError",
    "Spec",
    "SpecError",
    "StoredFileError",
    "StudyError",
    "Term",
    "Terms",
    "canonical",
    "identity",
    "identity_by_seed",
    "missing_package",
    "name_missing_extra",
]
