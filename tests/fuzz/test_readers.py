"""Mutated files: each is read, or refused in one sentence. `python tests/fuzz` reads more."""

import pytest

from fuzz.bombs import BOMBS
from fuzz.campaign import fuzz, run_in_child, write_input
from fuzz.faulty import FAULTY
from fuzz.readers import EXPENSIVE, READERS


def faults_of(outcomes):
    return [fault for outcome in outcomes.values() for fault in outcome.faults]


@pytest.mark.parametrize("name", READERS)
def test_a_mutated_file_is_read_or_refused_in_one_sentence(name, tmp_path):
    number = 50 // EXPENSIVE.get(name, 1)
    outcome = fuzz(name, READERS[name], range(number), tmp_path)
    assert outcome.faults == []
    assert outcome.read + outcome.refused == number


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_thousand_mutated_files_of_each_reader_have_no_fault():
    numbers = {name: range(1000 // EXPENSIVE.get(name, 1)) for name in READERS}
    assert faults_of(run_in_child(numbers)) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_small_files_of_huge_content_need_bounded_time_and_memory():
    bombs = {name: range(-len(bombs), 0) for name, bombs in BOMBS.items()}
    outcomes = run_in_child(bombs)
    assert faults_of(outcomes) == []
    assert sum(each.read + each.refused for each in outcomes.values()) == sum(
        map(len, bombs.values())
    )


def test_an_input_depends_on_its_number_alone(tmp_path):
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        folder.mkdir()
        reader = READERS["coco"]
        case = reader.open(folder)
        for number in (3, 7):
            write_input("coco", reader, number, case)
        contents.append(case.path.read_bytes())
    assert contents[0] == contents[1] != case.examples[0]


@pytest.mark.slow
def test_faults_of_readers_are_found_with_the_number_of_the_input():
    outcomes = run_in_child(dict.fromkeys(FAULTY, range(4)), program="fuzz.faulty")
    reasons = {
        "exception": "KeyError",
        "sentence": "several lines",
        "memory": "MemoryError",
        "abort": "SIGABRT",
        "spin": "s of processor time",
        "blocked": "was not read",
    }
    for name, reason in reasons.items():
        [fault] = outcomes[name].faults
        assert "--first 2:" in fault
        assert reason in fault
