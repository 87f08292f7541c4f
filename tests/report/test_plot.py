from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from quatrain.report.curves import Curve, learning_curves
from quatrain.report.differences import build_differences
from quatrain.report.matrix import build_matrix
from quatrain.report.plot import (
    MOST_NAMES,
    accuracy_cost_svg,
    curves_svg,
    forest_svg,
    matrix_svg,
    pareto_front,
)
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1)


@pytest.fixture
def study(store):
    return load_runs(store)


def texts(svg: str) -> set[str]:
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter()}


def test_the_plot_names_cells_groups_and_the_unit(study):
    svg = accuracy_cost_svg(build_table(study))
    assert {"1111", "0110", "0010", "1000", "self", "cross", "BLEU", "M multiply-adds"} <= texts(
        svg
    )
    assert "w/o" not in texts(svg)


def test_more_points_than_can_be_named_have_no_names(study):
    table = build_table(study)
    many = tuple(replace(table.rows[0], cell=f"cell {number}") for number in range(MOST_NAMES + 1))
    assert "cell 1" not in texts(accuracy_cost_svg(replace(table, rows=many)))


def test_a_plot_is_the_same_bytes_twice_and_holds_no_date(study):
    table = build_table(study)
    assert accuracy_cost_svg(table) == accuracy_cost_svg(table)
    assert "dc:date" not in accuracy_cost_svg(table)


def test_names_are_text_even_where_they_look_like_markup_or_mathematics(study):
    table = build_table(study)
    row = replace(table.rows[0], cell="<script>$x_", group="$a & b")
    assert {"<script>$x_", "$a & b"} <= texts(accuracy_cost_svg(replace(table, rows=(row,))))


def test_a_plot_of_nothing_says_so(study):
    assert "No finished run with counted cost yet" in texts(
        accuracy_cost_svg(replace(build_table(study), rows=()))
    )
    assert "No difference to show yet" in texts(
        forest_svg(replace(build_differences(study), rows=()))
    )
    assert "No log of loss yet" in texts(curves_svg([], "loss"))


def test_the_forest_has_a_line_for_each_difference_that_is_known(study):
    shown = texts(forest_svg(build_differences(study)))
    assert {"self: 1111 − 0110", "cross: 1000 − 1111"} <= shown
    assert "self: 0010 − w/o" not in shown


def test_a_published_difference_is_one_more_mark_in_the_forest(study):
    differences = build_differences(study)
    without = replace(
        differences, rows=tuple(replace(row, published=None) for row in differences.rows)
    )
    marks = [forest_svg(table).count("<use ") for table in (without, differences)]
    assert marks[1] == marks[0] + 1


def test_the_curves_have_a_panel_for_each_group(study):
    shown = texts(curves_svg(learning_curves(study), "loss"))
    assert {"self", "cross", "step", "loss", "0010", "1000"} <= shown


def test_a_steep_start_leaves_the_frame_of_the_curves():
    values = (900.0, *(3.0 - step / 10 for step in range(1, 20)))
    curve = Curve("self", "1111", "loss", tuple(range(1, 21)), values)
    shown = texts(curves_svg([curve], "loss"))
    assert "2.00" in shown
    assert not {"200", "400", "800"} & shown


def test_the_matrix_says_in_words_what_is_expected_and_what_is_against_it(matrix_store):
    matrix = build_matrix(build_table(load_runs(matrix_store)))
    shown = texts(matrix_svg(matrix))
    assert {"near", "far", "0001", "0010", "99.0", "40.0", "12.0", "–"} <= shown
    assert {"(≥ 95)", "(≤ 25)", "against"} <= shown
    assert matrix_svg(matrix) == matrix_svg(matrix)


@given(POINTS)
def test_the_front_holds_exactly_the_points_that_nothing_beats(points):
    def beaten(point):
        return any(
            other != point and other[0] <= point[0] and other[1] >= point[1] for other in points
        )

    assert set(pareto_front(points)) == {point for point in points if not beaten(point)}
