import warnings

import pytest

from quatrain.tasks.vision.data_warnings import DataWarning, Tally, listed, listed_uniquely


def test_each_kind_is_said_once_with_its_number_and_first_case():
    tally = Tally()
    tally.add("boxes left out", "annotation 17")
    tally.add("boxes left out", "annotation 96", times=2)
    tally.add("images left out", "a.jpg")
    with pytest.warns(DataWarning) as caught:
        counts = tally.warn("train")
    assert [str(each.message) for each in caught] == [
        "train: 3 boxes left out (the first is annotation 17)",
        "train: 1 images left out (the first is a.jpg)",
    ]
    assert counts == {"train: boxes left out": 3, "train: images left out": 1}


def test_nothing_to_say_is_silence():
    tally = Tally()
    tally.add("boxes left out", "annotation 17", times=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert tally.warn("train") == {}


def test_large_numbers_are_grouped_and_a_kind_need_not_have_a_first_case():
    tally = Tally()
    tally.add("pixels ignored", times=1200)
    with pytest.warns(DataWarning, match="^train: 1,200 pixels ignored$"):
        assert tally.warn("train") == {"train: pixels ignored": 1200}


def test_a_few_names_are_all_listed_and_of_many_the_first_and_the_number_of_the_others():
    names = [f"class {number}" for number in range(1203)]
    assert listed(["none", "sky"]) == '"none", "sky"'
    assert listed(names[:8]).endswith('"class 7"')
    assert listed(names) == f"{listed(names[:8])} and 1,195 more"


def test_lists_that_are_cut_differ_where_any_name_does():
    names = [f"class {number}" for number in range(20)]
    assert listed_uniquely(names[:8]) == listed(names[:8])
    assert listed_uniquely(names).startswith(f"{listed(names)} (SHA-256 ")
    assert listed_uniquely(names) == listed_uniquely(list(names))
    assert listed_uniquely(names) != listed_uniquely([*names[:-1], "another"])
