import pickle

import pytest

from quatrain.specs import (
    DataError,
    InputError,
    MissingPackageError,
    QuatrainError,
    SpecError,
    StoredFileError,
    StudyError,
)

KINDS = [SpecError, InputError, DataError, StudyError, StoredFileError, MissingPackageError]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_quatrain_error_with_the_same_sentence(kind):
    error = kind("heads", 3, "a divisor of channels=8", "use 1, 2, 4, 8")
    assert isinstance(error, QuatrainError)
    assert str(error) == "heads is 3, expected a divisor of channels=8: use 1, 2, 4, 8."
    parts = (error.field, error.value, error.expected, error.remedy)
    assert parts == ("heads", 3, "a divisor of channels=8", "use 1, 2, 4, 8")


def test_a_string_is_shown_in_quotes():
    assert 'terms is "1201",' in str(SpecError("terms", "1201", "four digits", "correct it"))


def test_an_error_can_be_pickled():
    error = SpecError("heads", 3, "4", "correct it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (SpecError, str(error))


def test_a_number_with_too_many_digits_to_print_has_a_message():
    assert str(SpecError("heads", 10**5000, "a divisor", "correct it")).startswith("heads is a")
