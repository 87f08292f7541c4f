from pathlib import Path

import pytest

from quatrain.cli.arguments import absolute, parse_budget, parse_seeds, results_folder
from quatrain.specs import StudyError


@pytest.mark.parametrize(
    ("text", "seeds"), [(None, None), ("3", [3]), ("0,1, 2", [0, 1, 2]), ("0-2,7", [0, 1, 2, 7])]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1..3", "5-2", "٣", "１-２", "9" * 5000])
def test_other_seeds_are_an_error(text):
    with pytest.raises(StudyError) as error:
        parse_seeds(text)
    assert error.value.field == "--seeds"


@pytest.mark.parametrize(
    ("text", "number"), [("0-20000000", "20,000,001"), ("0-9999,10000", "10,001")]
)
def test_too_many_seeds_are_an_error_at_once(text, number):
    with pytest.raises(StudyError) as error:
        parse_seeds(text)
    assert number in str(error.value)


def test_results_are_in_a_folder_named_like_the_study_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert results_folder(Path("a/my_study.py"), None) == tmp_path / "runs" / "my_study"
    assert results_folder(Path("a/my_study.py"), Path("out")) == tmp_path / "out"


def test_a_path_that_the_system_refuses_is_a_short_error():
    with pytest.raises(StudyError) as error:
        absolute("--data", Path("a" * 5000))
    assert error.value.field == "--data"
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("45s", 45),
        ("90m", 5400),
        ("2h", 7200),
        ("1.5H", 5400),
        ("1h30m", 5400),
        ("1d", 86400),
        (" 1d2h3m4s ", 93784),
    ],
)
def test_a_budget_is_a_length_of_time(text, seconds):
    assert parse_budget(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "2x", "2", "h", "0h", "-1h", "30m1h", "1h 30m", "1e3s", "٣h", "inf", "9" * 5000]
)
def test_other_budgets_are_a_short_error(text):
    with pytest.raises(StudyError) as error:
        parse_budget(text)
    assert error.value.field == "--budget"
    assert len(str(error.value)) < 300
