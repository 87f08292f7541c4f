import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from quatrain.report.curves import Curve
from quatrain.report.plot import (
    MOST_CURVES,
    accuracy_cost_svg,
    curves_svg,
    forest_svg,
    label_points,
    matrix_svg,
    pareto_front,
    shorten,
)
from quatrain.report.tables import build_matrix
from quatrain.results import Summary

POINTS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1)


def texts(svg):
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter()}


def with_names(report, name, count=2):
    """Table, differences, matrix and curves whose names have `name` appended."""
    names = [f"{number}{name}" for number in range(count)]
    places = list(itertools.product([f"g{name}", f"h{name}"], names))
    rows = [replace(report.table.rows[0], group=group, cell=cell) for group, cell in places]
    table = replace(report.table, rows=tuple(rows))
    first = report.differences.rows[0]
    pairs = [replace(first, group=group, left=cell, right=cell) for group, cell in places]
    differences = replace(report.differences, rows=tuple(pairs))
    curves = [Curve(group, cell, "loss", (1, 2), (2.0, 1.0)) for group, cell in places]
    return table, differences, build_matrix(table), curves


def draw_all(report, name, count=2):
    table, differences, matrix, curves = with_names(report, name, count)
    return {
        "accuracy-cost": accuracy_cost_svg(table),
        "forest": forest_svg(differences),
        "matrix": matrix_svg(matrix),
        "curves": curves_svg(curves, "loss"),
    }


def size(svg):
    return [float(re.search(rf'{side}="([\d.]+)pt"', svg)[1]) for side in ("width", "height")]


@pytest.fixture(scope="module")
def short(report):
    return draw_all(report, "")


@pytest.fixture(scope="module")
def accuracy_cost(files):
    return (files / "accuracy_cost.svg").read_text()


def test_accuracy_cost_names_cells_groups_and_unit(accuracy_cost):
    names = {"1111", "0110", "0010", "1000", "self", "cross", "BLEU", "M multiply-adds"}
    assert names <= texts(accuracy_cost)
    assert "w/o" not in texts(accuracy_cost)
    assert "dc:date" not in accuracy_cost


def test_figures_are_deterministic(report, short):
    assert draw_all(report, "") == short


def test_names_that_look_like_markup_or_mathematics_are_text(report):
    for svg in draw_all(report, "<b>$x_&").values():
        assert any("<b>$x_&" in text for text in texts(svg))


@pytest.mark.parametrize("name", ["\x1b[31m", "nul \x00", "a\nb", "\ufffe"])
def test_figures_with_any_name_are_well_formed(report, name):
    for svg in draw_all(report, name).values():
        assert ElementTree.fromstring(svg) is not None


def test_figures_without_data_have_a_message(report):
    for svg in (
        accuracy_cost_svg(replace(report.table, rows=())),
        forest_svg(replace(report.differences, rows=())),
        curves_svg([], "loss"),
    ):
        assert any(text.startswith("No ") for text in texts(svg))


@pytest.mark.parametrize("name", ["x" * 30, "日" * 15])
def test_figures_grow_with_the_length_of_names(report, short, name):
    for kind, svg in draw_all(report, name).items():
        assert size(svg)[0] > size(short[kind])[0] + 30 * 5


def test_forest_and_matrix_grow_with_the_number_of_cells(report, short):
    table, differences, matrix, _ = with_names(report, "", count=12)
    assert size(forest_svg(differences))[1] > size(short["forest"])[1] + 20 * 20
    assert size(matrix_svg(matrix))[1] > size(short["matrix"])[1] + 10 * 30
    assert size(accuracy_cost_svg(table)) == pytest.approx(size(short["accuracy-cost"]), rel=0.1)


def test_forest_has_the_differences_that_are_known(report):
    shown = texts(forest_svg(report.differences))
    assert {"self: 1111 − 0110", "cross: 1000 − 1111"} <= shown
    assert "self: 0010 − w/o" not in shown


def test_published_difference_is_one_more_mark(report):
    rows = tuple(replace(row, published=None) for row in report.differences.rows)
    without = forest_svg(replace(report.differences, rows=rows))
    with_published = forest_svg(report.differences)
    assert with_published.count("<path ") == without.count("<path ") + 1


def test_curves_have_a_panel_for_each_group(report):
    shown = texts(curves_svg(report.curves, "loss"))
    assert {"self", "cross", "step", "loss", "0010", "1000"} <= shown


def test_curves_are_distinct_and_have_a_legend_only_if_they_can_be_told_apart():
    curves = [Curve("g", f"cell {n}", "loss", (1, 2), (2.0, 1.0)) for n in range(MOST_CURVES + 1)]
    svg = curves_svg(curves[:-1], "loss")
    lines = set(re.findall(r'clip-path[^>]*style="(fill: none; stroke[^"]*)"', svg))
    assert len({line for line in lines if "stroke-width: 1.5" in line}) == MOST_CURVES
    assert "cell 0" in texts(svg)
    assert "cell 0" not in texts(curves_svg(curves, "loss"))


def test_steep_start_of_a_curve_is_cut_off():
    values = (900.0, *(3.0 - step / 10 for step in range(1, 20)))
    shown = texts(curves_svg([Curve("self", "1111", "loss", tuple(range(1, 21)), values)], "loss"))
    assert "2.00" in shown
    assert not {"200", "400", "800"} & shown


def test_matrix_has_measured_and_expected_values(matrix_report):
    shown = texts(matrix_svg(matrix_report.matrix))
    assert {"near", "far", "0001", "0010", "99.0", "40.0", "12.0", "–"} <= shown
    assert {"(≥ 95)", "(≤ 25)", "not met"} <= shown


@pytest.mark.parametrize("value", [1e100, -1e100, 1e-300, 0.0])
def test_extreme_numbers_are_drawn(report, value):
    summary = Summary(value, -1e100, 1e100, 3, 0.5)
    quantities = {**report.table.rows[0].quantities, "multiply_adds": abs(value)}
    changes = {"metrics": {"bleu": summary}, "quantities": quantities}
    rows = tuple(replace(row, **changes) for row in report.table.rows[:2])
    pairs = [replace(r, summary=summary, published=value) for r in report.differences.rows]
    for svg in (
        accuracy_cost_svg(replace(report.table, rows=(*rows, *report.table.rows[2:]))),
        forest_svg(replace(report.differences, rows=tuple(pairs))),
        curves_svg([Curve("self", "1111", "loss", (1, 2**62), (value, 1.0))], "loss"),
    ):
        ElementTree.fromstring(svg)


@pytest.mark.parametrize("gap", [0.0, 0.01, 0.1, 1.0])
def test_labels_cover_no_point_no_label_and_stay_inside_the_axes(gap):
    figure = Figure(figsize=(6, 4), dpi=72)
    axes = figure.add_axes((0, 0, 1, 1))
    points = [(1 + gap * number, 2 + gap * (number % 3)) for number in range(12)]
    axes.plot(*zip(*points, strict=True), "o")
    names = [f"{number:04b}+deformable" for number in range(12)]
    label_points(axes, [(*pair, "black") for pair in zip(points, names, strict=True)])
    renderer = FigureCanvasAgg(figure).get_renderer()
    boxes = [label.get_window_extent(renderer) for label in axes.texts]
    assert axes.texts[0].get_text() == names[0]
    assert len(boxes) >= 4
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    centers = axes.transData.transform(points)
    assert not any(box.contains(*center) for box in boxes for center in centers)
    corners = np.array([box.extents for box in boxes])
    assert (corners[:, :2] >= 0).all()
    assert (corners[:, 2:] <= [6 * 72, 4 * 72]).all()


def test_shorten_keeps_the_beginning_and_the_end():
    name = shorten("a" * 100 + "z" * 100)
    assert name.startswith("aaa")
    assert name.endswith("zzz")
    assert len(name) == 40
    assert shorten("a" * 40) == "a" * 40


@given(POINTS)
def test_pareto_front_has_exactly_the_points_that_no_other_beats(points):
    def is_beaten(point):
        return any(
            other != point and other[0] <= point[0] and other[1] >= point[1] for other in points
        )

    assert set(pareto_front(points)) == {point for point in points if not is_beaten(point)}
