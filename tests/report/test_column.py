import pytest

from quatrain.report.column import Column, format_fixed, number_column, text_column


def test_text_column_is_sorted_by_its_text():
    assert text_column("cell", ["b", "a"]) == Column("cell", ("b", "a"), ("b", "a"), numeric=False)


def test_number_column_has_a_dash_for_none():
    column = number_column("n", [1.5, None], str)
    assert column == Column("n", ("1.5", "–"), (1.5, None), numeric=True)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "1.23"), (-5.0, "-5.00"), (1e100, "1e+100"), (-2.5e15, "-2.5e+15")],
)
def test_number_has_its_decimal_places_unless_it_is_astronomical(value, text):
    assert format_fixed(value, 2) == text
    assert format_fixed(abs(value), 2, "+") == f"+{text.removeprefix('-')}"
