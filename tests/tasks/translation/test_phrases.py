import re
from datetime import datetime

import pytest
from babel.dates import format_date
from num2words import num2words

from quatrain.tasks.translation import phrases
from quatrain.tasks.translation.phrases import PortableRandom


def samples(phrase, number=4000):
    random = PortableRandom(0)
    return dict(phrase(random) for _ in range(number))


def test_random_integers_include_both_ends():
    random = PortableRandom(1)
    assert {random.randint(2, 5) for _ in range(200)} == {2, 3, 4, 5}
    assert {random.choice("ab") for _ in range(50)} == {"a", "b"}


def test_random_draws_are_the_same_on_every_machine():
    random = PortableRandom(0)
    assert [random.randint(0, 999) for _ in range(5)] == [844, 757, 420, 258, 511]


def test_units_come_before_tens_in_german():
    german = samples(phrases.count)
    assert german["forty-two"] == "zweiundvierzig"
    assert german["two"] == "zwei"


def test_no_count_ends_in_one_where_german_would_inflect_it():
    assert not {num2words(number) for number in range(1, 1000, 100)} & samples(phrases.count).keys()


def test_a_cardinal_equals_num2words_of_the_whole_number():
    number_of = {num2words(number): number for number in range(1001, 100_000, 37)}
    checked = 0
    for english, german in samples(phrases.cardinal, 20_000).items():
        if english in number_of:
            assert german == num2words(number_of[english], lang="de")
            checked += 1
    assert checked > 100


def test_an_ordinal_has_the_ending_of_its_language():
    german = samples(phrases.ordinal)
    assert len(german) == 31
    assert german["twenty-first"] == "einundzwanzigste"
    assert german["third"] == "dritte"


def test_a_year_is_in_hundreds():
    assert samples(phrases.year)["nineteen eighty-four"] == "neunzehnhundertvierundachtzig"


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
def test_german_half_hours_name_the_next_hour(english, german):
    assert samples(phrases.clock)[english] == german


def test_every_time_in_steps_of_five_minutes_has_its_own_words():
    german = samples(phrases.clock)
    assert len(german) == len(set(german.values())) == 12 * 12


def test_a_day_has_four_formats():
    german = samples(phrases.day, 20_000)
    assert german["the twenty-first of March"] == "einundzwanzigsten März"
    assert german["Thursday, the twenty-first of March"] == "Donnerstag, dem einundzwanzigsten März"
    dates = [text for text in german if re.fullmatch(r"\w+ \d+, \d{4}", text)]
    assert dates
    for english in dates:
        date = datetime.strptime(english, "%B %d, %Y")
        assert german[english] == format_date(date, "long", locale="de")
        with_weekday = german.get(format_date(date, "full", locale="en_GB"))
        assert with_weekday in (None, format_date(date, "full", locale="de"))
    assert any(re.fullmatch(r"\w+, \d+ \w+ \d{4}", text) for text in german)


def test_amounts_swap_comma_and_point():
    german = samples(phrases.amount)
    english = next(text for text in german if "," in text and text.endswith(" euros"))
    swapped = english.translate(str.maketrans(",.", ".,")).replace("euros", "Euro")
    assert german[english] == swapped


def test_amounts_may_be_in_words():
    counts = samples(phrases.count).items()
    german = samples(phrases.amount)
    compared = [number for number in counts if f"{number[0]} US dollars" in german]
    assert len(compared) > 50
    assert all(german[f"{number[0]} US dollars"] == f"{number[1]} US-Dollar" for number in compared)
