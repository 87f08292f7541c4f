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
from quatrain.specs.errors import shorten

KINDS = [SpecError, InputError, DataError, StudyError, StoredFileError, MissingPackageError]
SENTENCE = "heads=3 does not divide channels=8; use 1, 2, 4, 8"


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_a_quatrain_error_with_a_sentence_and_a_field(kind):
    error = kind(SENTENCE, "heads")
    assert isinstance(error, QuatrainError)
    assert (str(error), error.field) == (SENTENCE, "heads")


def test_an_error_can_be_pickled():
    copy = pickle.loads(pickle.dumps(SpecError(SENTENCE, "heads")))
    assert (type(copy), str(copy), copy.field) == (SpecError, SENTENCE, "heads")


@pytest.mark.parametrize("end", ["\n", "\r", "\x85", "\u2028", "\x1b[2J", "\0"])
def test_a_message_that_quotes_a_file_is_one_line(end):
    error = DataError(f"a.txt has the name 'a{end}b'; correct it", "a.txt")
    assert len(str(error).splitlines()) == 1
    assert "'a\\" in str(error)
    assert end not in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize("text", ["x", "\n"])
def test_the_middle_of_a_very_long_message_is_left_out(text):
    error = DataError(f"{text * 100_000} is no name; correct it", "name")
    assert len(str(error)) < 5000
    assert "characters left out" in str(error)
    assert str(error).endswith("is no name; correct it")


def test_values_in_messages_are_short_and_quoted():
    assert shorten("1201") == "'1201'"
    assert len(shorten("x" * 1000)) < 100
    assert shorten(10**5000) == "a very large int"
