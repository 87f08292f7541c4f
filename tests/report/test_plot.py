import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.backends.backend_agg import FigureCanvasAgg

from quatrain.report import plot
from quatrain.report.curves import Curve, learning_curves
from quatrain.report.differences import build_differences
from quatrain.report.matrix import build_matrix
from quatrain.report.plot import (
    MOST_NAMES,
    accuracy_cost_svg,
    curves_svg,
    excess,
    forest_svg,
    matrix_svg,
    pareto_front,
    short,
)
from quatrain.report.runs import load_runs
from quatrain.report.tables import build_table
from quatrain.results import Summary

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
    assert {"(≥ 95)", "(≤ 25)", "not met"} <= shown
    assert matrix_svg(matrix) == matrix_svg(matrix)


def labels_of(axis):
    """The labels of the ticks that lie within the frame."""
    low, high = sorted(axis.get_view_interval())
    ticks = [tick for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    labels = [label for tick in ticks for label in (tick.label1, tick.label2)]
    return [label for label in labels if label.get_visible()]


def figure_of(monkeypatch, draw):
    """The figure that `draw` draws, laid out as it is when it becomes SVG."""
    drawn = []

    def keep(figure, label):
        canvas = FigureCanvasAgg(figure)
        canvas.draw()
        legends = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
        texts = [text for legend in legends if legend for text in legend.get_texts()]
        for axes in figure.axes:
            texts += [*labels_of(axes.xaxis), *labels_of(axes.yaxis)]
        boxes = {
            text.get_text(): text.get_window_extent(canvas.get_renderer())
            for text in texts
            if text.get_text()
        }
        frames = [axes.get_window_extent() for axes in figure.axes]
        drawn.append((figure.bbox, boxes, frames))
        return ""

    monkeypatch.setattr(plot, "to_svg", keep)
    draw()
    return drawn[0]


def many(table, cells, letters):
    """A table of as many cells in two groups, and as many curves, with names of as many letters."""
    names = [f"{number} ".ljust(letters, "x") for number in range(cells)]
    groups = [f"group {number}".ljust(letters, "y") for number in range(2)]
    places = [(group, name) for group in groups for name in names]
    rows = tuple(replace(table.rows[0], group=group, cell=name) for group, name in places)
    curves = [Curve(group, name, "loss", (1, 2), (2.0, 1.0)) for group, name in places]
    return replace(table, rows=rows), curves


@pytest.mark.parametrize("letters", [4, 300])
@pytest.mark.parametrize("cells", [15, 60])
def test_a_figure_grows_with_the_number_of_cells_and_the_length_of_names(
    monkeypatch, study, cells, letters
):
    table, curves = many(build_table(study), cells, letters)
    differences = build_differences(study)
    pairs = tuple(
        replace(differences.rows[0], group=row.group, left=row.cell, right=row.cell)
        for row in table.rows
    )
    for draw in (
        lambda: accuracy_cost_svg(table),
        lambda: curves_svg(curves, "loss"),
        lambda: forest_svg(replace(differences, rows=pairs)),
        lambda: matrix_svg(build_matrix(table)),
    ):
        page, boxes, frames = figure_of(monkeypatch, draw)
        cut = [
            name
            for name, box in boxes.items()
            if box.x0 < page.x0 - 1
            or box.x1 > page.x1 + 1
            or box.y0 < page.y0 - 1
            or box.y1 > page.y1 + 1
        ]
        assert cut == []
        assert min(frame.width for frame in frames) > 150
        assert min(frame.height for frame in frames) > 60


def test_thirty_curves_differ_in_their_lines(study):
    _, curves = many(build_table(study), 30, 4)
    svg = curves_svg([curve for curve in curves if curve.group == curves[0].group], "loss")
    lines = set(re.findall(r'clip-path[^>]*style="(fill: none; stroke[^"]*)"', svg))
    assert len({line for line in lines if "stroke-width: 1.5" in line}) == 30


def test_a_long_name_keeps_its_beginning_and_its_end():
    assert short("a" * 100 + "z" * 100).startswith("aaa")
    assert short("a" * 100 + "z" * 100).endswith("zzz")
    assert len(short("a" * 500)) == 120
    assert short("a" * 120) == "a" * 120
    assert excess(["日" * 30], 20) == 40


@pytest.mark.parametrize("value", [1e100, -1e100, 1e-300, 0.0])
def test_numbers_at_the_edge_of_what_is_stored_are_drawn(study, value):
    table = build_table(study)
    summary = Summary(value, -1e100, 1e100, 3, 0.5)
    rows = tuple(
        replace(row, metrics={"bleu": summary}, multiply_adds=abs(value)) for row in table.rows[:2]
    )
    differences = build_differences(study)
    pairs = tuple(replace(row, summary=summary, published=value) for row in differences.rows)
    curve = Curve("self", "1111", "loss", (1, 2**62), (value, 1.0))
    for svg in (
        accuracy_cost_svg(replace(table, rows=(*rows, *table.rows[2:]))),
        forest_svg(replace(differences, rows=pairs)),
        curves_svg([curve], "loss"),
    ):
        ElementTree.fromstring(svg)


@pytest.mark.parametrize("name", ["\x1b[31m", "nul \x00", "日本 😀", "a\nb", "\ufffe"])
def test_no_name_makes_a_plot_ill_formed(study, name):
    table = build_table(study)
    rows = tuple(replace(row, cell=f"{row.cell}{name}", group=name) for row in table.rows)
    differences = build_differences(study)
    pairs = tuple(replace(row, left=name, group=name) for row in differences.rows)
    for svg in (
        accuracy_cost_svg(replace(table, rows=rows)),
        forest_svg(replace(differences, rows=pairs)),
        curves_svg([Curve(name, name, "loss", (1, 2), (1.0, 2.0))], "loss"),
    ):
        ElementTree.fromstring(svg)


@given(POINTS)
def test_the_front_holds_exactly_the_points_that_nothing_beats(points):
    def beaten(point):
        return any(
            other != point and other[0] <= point[0] and other[1] >= point[1] for other in points
        )

    assert set(pareto_front(points)) == {point for point in points if not beaten(point)}
