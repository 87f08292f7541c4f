import pytest

from quatrain.paper.published import configurations, gain, mmdetection, pairs, points
from quatrain.specs import ALL_TERM_SETS

TASKS = ("detection", "segmentation", "translation")


def test_gain_is_the_difference_of_two_published_accuracies():
    assert gain("1111", "w/o", ("figure-3a",), "detection") == 2.4
    assert gain("w/o", "1111", ("table-2", "figure-3b"), "segmentation") == -4.8
    assert gain("dynamic@13", "0100", ("table-3",), "detection") == -1.1
    assert gain("1111", "0100@7", ("table-2", "figure-3a"), "detection") is None


@pytest.mark.parametrize("letter", "abcd")
def test_each_figure_has_fifteen_term_sets_once(letter):
    configs = [point.config for point in points(f"figure-3{letter}")]
    terms = {str(terms) for terms in ALL_TERM_SETS} - {"0000"}
    others = set() if letter == "d" else {"w/o", "0010+deformable"}
    assert len(configs) == len(set(configs))
    assert set(configs) == terms | others


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize(("table", "rows"), [("table-2", 9), ("table-3", 4)])
def test_each_table_has_its_rows_for_each_task(table, rows, task):
    assert len(pairs(table, task)) == rows


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("table", ["table-2", "table-3"])
def test_published_change_in_cost_agrees_with_the_published_costs(table, task):
    half_digit = 0.05
    for pair in pairs(table, task):
        left, right = pair.giga_multiply_adds
        low = 100 * ((right - half_digit) / (left + half_digit) - 1)
        high = 100 * ((right + half_digit) / (left - half_digit) - 1)
        assert low - half_digit <= pair.percent <= high + half_digit, pair


def test_figure_and_table_agree_on_shared_vision_configurations():
    for letter, task in (("a", "detection"), ("b", "segmentation")):
        figure = {point.config: point for point in points(f"figure-3{letter}")}
        for pair in pairs("table-2", task):
            shared = figure[pair.left]
            assert (shared.accuracy, shared.giga_multiply_adds) == (
                pair.accuracy[0],
                pair.giga_multiply_adds[0],
            )


def test_odd_entries_of_the_translation_columns_have_a_note():
    odd = {
        (point.table, point.config)
        for table in ("figure-3c", "figure-3d")
        for point in points(table)
        if point.note
    }
    assert odd == {
        ("figure-3c", "0110"),
        ("figure-3c", "0111"),
        ("figure-3c", "1001"),
        ("figure-3c", "0010+deformable"),
        ("figure-3d", "0110"),
        ("figure-3d", "0111"),
        ("figure-3d", "1001"),
    }


def test_mmdetection_has_accuracies_of_mixers_that_the_paper_has():
    """Its detector is better than the paper's by 1.0 to 1.4 AP, whatever the mixer."""
    tables = ("figure-3a", "table-2")
    paper = {p.config: p.accuracy for table in tables for p in configurations(table, "detection")}
    gains = [value - paper[config] for config, value in mmdetection().items()]
    assert len(gains) == 6
    assert 0.9 < min(gains) <= max(gains) < 1.5
