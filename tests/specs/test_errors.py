import pickle

import pytest

from quatrain import specs
from quatrain.specs import QuatrainError, SpecError

FAMILY = [specs.SpecError, specs.InputError, specs.DataError, specs.StudyError]


def test_the_message_is_one_sentence_of_field_value_expectation_and_remedy():
    error = SpecError("heads", 3, "a divisor of the 128 channels", "choose 1, 2, 4, 8")
    expected = "heads is 3, expected a divisor of the 128 channels: choose 1, 2, 4, 8."
    assert str(error) == expected
    assert (error.field, error.value) == ("heads", 3)


def test_a_text_value_is_shown_in_quotes():
    assert 'terms is "1201",' in str(SpecError("terms", "1201", "four digits", "mend it"))


@pytest.mark.parametrize("kind", [*FAMILY, specs.StoredFileError, specs.MissingPackageError])
def test_every_kind_is_caught_as_one_family(kind):
    with pytest.raises(QuatrainError):
        raise kind("field", 1, "2", "mend it")


def test_an_error_survives_the_way_between_processes():
    error = SpecError("heads", 3, "4", "mend it")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy)) == (SpecError, str(error))


def test_a_number_of_more_digits_than_python_writes_still_has_its_sentence():
    assert str(SpecError("heads", 10**5000, "a divisor", "mend it")).startswith("heads is a number")
