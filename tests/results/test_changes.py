import pytest

from quatrain.results import changed_files, comparable, notes_on_files


@pytest.mark.parametrize(
    ("now", "then", "files"),
    [
        ({"a": "1"}, {"a": "1"}, []),
        ({"a": "1"}, {"a": "2"}, ["a"]),
        ({"b": "1", "a": "1"}, {"c": "1"}, ["a", "b", "c"]),
        ({}, {}, []),
    ],
)
def test_files_that_differ_or_are_on_one_side_only_have_changed(now, then, files):
    assert changed_files(now, then) == files


@pytest.mark.parametrize(
    ("now", "then", "expected"),
    [
        ({"a": "2:1"}, {"b": "2:2"}, True),
        ({"a": "1"}, {"a": "2"}, True),
        ({"a": "2:1"}, {"a": "1"}, False),
        ({"a": "2:1"}, None, False),
        (None, None, False),
    ],
)
def test_hashes_of_one_rule_are_comparable(now, then, expected):
    assert comparable(now, then) is expected


def test_runs_that_finished_before_the_same_files_changed_are_in_one_note():
    old, older = {"a": "1", "b": "1"}, {"a": "1"}
    now = {"a": "2", "b": "2"}
    runs = [
        ("one/x", now, old),
        ("one/x", now, old),
        ("one/y", now, older),
        ("one/z", now, now),
        ("one/w", now, None),
        ("one/v", now, {"a": "3:1", "b": "3:1"}),
        ("one/w", None, old),
    ]
    assert notes_on_files(runs) == ["a, b changed after 3 runs finished (one/x, one/y)"]


def test_of_many_cells_five_are_named():
    runs = [(f"one/{cell}", {"a": "1"}, {"a": "2"}) for cell in "abcdefg"]
    assert notes_on_files(runs) == [
        "a changed after 7 runs finished (one/a, one/b, one/c, one/d, one/e and 2 more)"
    ]
