import warnings

import pytest

from quatrain.tasks.vision.data_warnings import DataWarning, DataWarnings, format_names


def test_each_kind_gives_one_warning_with_its_count_and_first_case():
    problems = DataWarnings()
    problems.add("boxes left out", "annotation 17")
    problems.add("boxes left out", "annotation 96", count=2)
    problems.add("images left out", "a.jpg")
    problems.add("pixels ignored", count=1200)
    problems.add("videos left out")
    with pytest.warns(DataWarning) as caught:
        counts = problems.warn("train")
    assert [str(each.message) for each in caught] == [
        "train: 3 boxes left out (the first is annotation 17)",
        "train: 1 image left out (the first is a.jpg)",
        "train: 1,200 pixels ignored",
        "train: 1 videos left out",
    ]
    assert counts == {
        "train: boxes left out": 3,
        "train: images left out": 1,
        "train: pixels ignored": 1200,
        "train: videos left out": 1,
    }


def test_a_count_of_zero_gives_no_warning():
    problems = DataWarnings()
    problems.add("boxes left out", "annotation 17", count=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert problems.warn("train") == {}


def test_long_lists_of_names_are_shortened_and_stay_unique_with_a_hash():
    names = [f"class {number}" for number in range(1203)]
    assert format_names(["none", "sky"]) == '"none", "sky"'
    assert format_names(names[:8], with_hash=True) == format_names(names[:8])
    assert format_names(names) == f"{format_names(names[:8])} and 1,195 more"
    hashed = format_names(names, with_hash=True)
    assert hashed.startswith(f"{format_names(names)} (SHA-256 ")
    assert hashed != format_names([*names[:-1], "another"], with_hash=True)
