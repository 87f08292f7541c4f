"""Random numbers, times, dates and amounts of money, in English and German words.

    count   forty-two               zweiundvierzig              units before tens, in one word
    clock   half past three         halb vier                   the next hour
    day     March 21, 2024          21. März 2024               day before month
    amount  1,234.50 euros          1.234,50 Euro               comma and point are swapped

Numbers are written by num2words; months, weekdays and currencies by Babel.
"""

import datetime
from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from random import Random
from typing import TypeVar

from babel.dates import get_day_names, get_month_names
from babel.numbers import format_currency, get_currency_name
from num2words import num2words

from quatrain.tasks.translation.parallel_text import Pair

Choice = TypeVar("Choice")

_LOCALES = ("en", "de")
_CURRENCIES = ("EUR", "USD", "CHF", "SEK")
_FIRST_DAY = datetime.date(1960, 1, 1)
_LAST_DAY = datetime.date(2029, 12, 31)


class PortableRandom:
    """Random draws from `random.Random.random`, the only stream that Python keeps stable."""

    def __init__(self, seed: int) -> None:
        self._random = Random(seed)  # noqa: S311 - data, not secrets

    def randint(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, inclusive."""
        return low + int(self._random.random() * (high - low + 1))

    def choice(self, choices: Sequence[Choice]) -> Choice:
        """One of `choices`, with equal probability."""
        return choices[self.randint(0, len(choices) - 1)]


def count(random: PortableRandom) -> Pair:
    """A number of things, from 2 to 999, in words; three in four are below 100."""
    return _in_words(_quantity(random))


def cardinal(random: PortableRandom) -> Pair:
    """A number of four or five digits, in words."""
    thousands, rest = _in_words(1000 * random.randint(1, 99)), random.randint(1, 999)
    english, german = _in_words(rest)
    joint = " and " if rest < 100 else ", "
    return thousands[0] + joint + english, thousands[1] + german


def ordinal(random: PortableRandom) -> Pair:
    """An ordinal from first to thirty-first; the German one has the ending after "der"."""
    return _in_words(random.randint(1, 31), "ordinal")


def year(random: PortableRandom) -> Pair:
    """A year in words: "nineteen eighty-four" is "neunzehnhundertvierundachtzig"."""
    return _in_words(random.randint(_FIRST_DAY.year, _LAST_DAY.year), "year")


def clock(random: PortableRandom) -> Pair:
    """A time of day to five minutes: "twenty to four" is "zwanzig vor vier"."""
    hour, minute = random.randint(1, 12), 5 * random.randint(0, 11)
    this, following = _in_words(hour), _in_words(hour % 12 + 1)
    if minute == 0:
        return f"{this[0]} o'clock", f"{'ein' if hour == 1 else this[1]} Uhr"
    if minute == 30:
        return f"half past {this[0]}", f"halb {following[1]}"
    if minute < 30:
        english, german = _minutes(minute)
        return f"{english} past {this[0]}", f"{german} nach {this[1]}"
    english, german = _minutes(60 - minute)
    return f"{english} to {following[0]}", f"{german} vor {following[1]}"


def day(random: PortableRandom) -> Pair:
    """A date after "on" and "am", in one of four formats.

    Thursday, 21 March 2024                Donnerstag, 21. März 2024
    March 21, 2024                         21. März 2024
    the twenty-first of March              einundzwanzigsten März
    Thursday, the twenty-first of March    Donnerstag, dem einundzwanzigsten März
    """
    span = (_LAST_DAY - _FIRST_DAY).days
    date = _FIRST_DAY + datetime.timedelta(days=random.randint(0, span))
    month, weekday = _month(date.month), _weekday(date.weekday())
    form = random.randint(0, 3)
    if form == 0:
        return (
            f"{weekday[0]}, {date.day} {month[0]} {date.year}",
            f"{weekday[1]}, {date.day}. {month[1]} {date.year}",
        )
    if form == 1:
        return f"{month[0]} {date.day}, {date.year}", f"{date.day}. {month[1]} {date.year}"
    rank = _in_words(date.day, "ordinal")
    english, german = f"the {rank[0]} of {month[0]}", f"{rank[1]}n {month[1]}"
    if form == 2:
        return english, german
    return f"{weekday[0]}, {english}", f"{weekday[1]}, dem {german}"


def amount(random: PortableRandom) -> Pair:
    """An amount of money, in words or in digits with two decimals."""
    currency = random.choice(_CURRENCIES)
    number = _quantity(random)
    if random.randint(0, 1):
        english, german = _in_words(number)
        plural = _currency(currency)
        return f"{english} {plural[0]}", f"{german} {plural[1]}"
    exact = Decimal(number * random.choice((1, 10)) * 100 + 5 * random.randint(0, 19)) / 100
    english, german = (
        format_currency(exact, currency, locale=locale, format_type="name") for locale in _LOCALES
    )
    return english, german


def _quantity(random: PortableRandom) -> int:
    number = random.randint(2, 99) if random.randint(0, 3) else random.randint(100, 999)
    # Before a noun, German "hundertein" differs from the word for the number.
    return number + 1 if number % 100 == 1 else number


def _minutes(number: int) -> Pair:
    return ("quarter", "Viertel") if number == 15 else _in_words(number)


@cache
def _in_words(number: int, form: str = "cardinal") -> Pair:
    english, german = (num2words(number, lang=locale, to=form) for locale in _LOCALES)
    return english, german


@cache
def _currency(code: str) -> Pair:
    english, german = (get_currency_name(code, count=2, locale=locale) for locale in _LOCALES)
    return english, german


@cache
def _month(number: int) -> Pair:
    return get_month_names(locale="en")[number], get_month_names(locale="de")[number]


@cache
def _weekday(number: int) -> Pair:
    return get_day_names(locale="en")[number], get_day_names(locale="de")[number]
