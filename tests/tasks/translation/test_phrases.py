import re
from datetime import datetime

import pytest
from babel.dates import format_date
from num2words import num2words

from quatrain.tasks.translation import phrases
from quatrain.tasks.translation.phrases import Dice


def drawn(phrase, times=4000):
    dice = Dice(0)
    return dict(phrase(dice) for _ in range(times))


def test_dice_keep_to_their_ends_and_reach_them():
    dice = Dice(1)
    assert {dice.between(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert {dice.pick("ab") for _ in range(50)} == {"a", "b"}


def test_equal_seeds_draw_alike_on_every_machine():
    dice = Dice(0)
    assert [dice.between(0, 999) for _ in range(5)] == [844, 757, 420, 258, 511]


def test_units_come_before_tens_in_german():
    said = drawn(phrases.count)
    assert said["forty-two"] == "zweiundvierzig"
    assert said["two"] == "zwei"


def test_no_count_ends_in_one_where_german_would_inflect_it():
    assert not {num2words(number) for number in range(1, 1000, 100)} & drawn(phrases.count).keys()


def test_a_cardinal_is_what_num2words_says_of_the_whole_number():
    said = {num2words(number): number for number in range(1001, 100_000, 37)}
    checked = 0
    for english, german in drawn(phrases.cardinal, 20_000).items():
        if english in said:
            assert german == num2words(said[english], lang="de")
            checked += 1
    assert checked > 100


def test_an_ordinal_has_the_ending_of_its_language():
    said = drawn(phrases.ordinal)
    assert len(said) == 31
    assert said["twenty-first"] == "einundzwanzigste"
    assert said["third"] == "dritte"


def test_a_year_is_said_in_hundreds():
    assert drawn(phrases.year)["nineteen eighty-four"] == "neunzehnhundertvierundachtzig"


@pytest.mark.parametrize(
    ("english", "german"),
    [
        ("one o'clock", "ein Uhr"),
        ("twelve o'clock", "zwölf Uhr"),
        ("half past three", "halb vier"),
        ("half past twelve", "halb eins"),
        ("quarter past one", "Viertel nach eins"),
        ("quarter to one", "Viertel vor eins"),
        ("twenty-five to four", "fünfundzwanzig vor vier"),
        ("five past eleven", "fünf nach elf"),
    ],
)
def test_half_the_hour_names_the_hour_to_come_in_german(english, german):
    assert drawn(phrases.clock)[english] == german


def test_every_time_to_five_minutes_has_its_own_words():
    said = drawn(phrases.clock)
    assert len(said) == len(set(said.values())) == 12 * 12


def test_a_day_is_said_in_four_ways():
    said = drawn(phrases.day, 20_000)
    assert said["the twenty-first of March"] == "einundzwanzigsten März"
    assert said["Thursday, the twenty-first of March"] == "Donnerstag, dem einundzwanzigsten März"
    dates = [text for text in said if re.fullmatch(r"\w+ \d+, \d{4}", text)]
    assert dates
    for english in dates:
        date = datetime.strptime(english, "%B %d, %Y")
        assert said[english] == format_date(date, "long", locale="de")
        with_weekday = said.get(format_date(date, "full", locale="en_GB"))
        assert with_weekday in (None, format_date(date, "full", locale="de"))
    assert any(re.fullmatch(r"\w+, \d+ \w+ \d{4}", text) for text in said)


def test_an_amount_changes_comma_and_point():
    said = drawn(phrases.amount)
    english = next(text for text in said if "," in text and text.endswith(" euros"))
    swapped = english.translate(str.maketrans(",.", ".,")).replace("euros", "Euro")
    assert said[english] == swapped


def test_an_amount_can_be_in_words():
    counts = drawn(phrases.count).items()
    said = drawn(phrases.amount)
    compared = [number for number in counts if f"{number[0]} US dollars" in said]
    assert len(compared) > 50
    assert all(said[f"{number[0]} US dollars"] == f"{number[1]} US-Dollar" for number in compared)
