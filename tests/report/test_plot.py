import itertools
import re
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from fake.results import write_results
from quatrain.report.build import load_report
from quatrain.report.page.scatter import Scatter
from quatrain.report.plot import accuracy_cost_svg, matrix_svg
from quatrain.report.tables import build_matrix


def texts(svg):
    return {"".join(node.itertext()).strip() for node in ElementTree.fromstring(svg).iter()}


def matrix_of(report, name, count=2):
    places = itertools.product([f"g{name}", f"h{name}"], [f"{n}{name}" for n in range(count)])
    first = report.table.rows[0]
    rows = tuple(replace(first, group=group, cell=cell) for group, cell in places)
    return build_matrix(replace(report.table, rows=rows))


def size(svg):
    return [float(re.search(rf' {side}="(\d+)"', svg)[1]) for side in ("width", "height")]


@pytest.fixture(scope="module")
def accuracy_cost(files):
    return (files / "accuracy_cost.svg").read_text()


def test_accuracy_cost_names_cells_groups_and_unit(accuracy_cost):
    assert {"self", "cross", "BLEU", "M multiply-adds"} <= texts(accuracy_cost)
    assert any(text.startswith("0010 · ") for text in texts(accuracy_cost))
    assert "w/o" not in texts(accuracy_cost)


def test_figures_follow_light_and_dark_mode(accuracy_cost, matrix_report):
    for svg in (accuracy_cost, matrix_svg(matrix_report.matrix)):
        assert "prefers-color-scheme: dark" in svg
        assert 'xmlns="http://www.w3.org/2000/svg"' in svg


@pytest.mark.parametrize("name", ["<b>$x_&", "\x1b[31m", "nul \x00", "a\nb", "\ufffe", "日" * 15])
def test_names_of_any_kind_are_text(report, name):
    svg = matrix_svg(matrix_of(report, name))
    assert ElementTree.fromstring(svg) is not None
    if name.isprintable():
        assert f"0{name}" in texts(svg)


def scatter_of(tmp_path, cells):
    """The figure of a study with this number of cells in each group."""
    values = {
        (group, f"{group}{n}"): {seed: {"accuracy": 10.0 * n + seed * (n + 1)} for seed in range(3)}
        for group, count in cells.items()
        for n in range(count)
    }
    return Scatter(load_report(write_results(tmp_path, values)))


def test_each_group_of_several_cells_has_a_panel_of_its_own(tmp_path):
    scatter = scatter_of(tmp_path, {"first": 2, "single": 1, "second": 3})
    svg = accuracy_cost_svg(scatter)
    panels = [node for node in ElementTree.fromstring(svg) if node.get("transform")]
    shown = [texts(ElementTree.tostring(panel, "unicode")) for panel in panels]
    assert [next(iter(names & {"first", "second"})) for names in shown] == ["first", "second"]
    assert any(text.startswith("second2 · ") for text in shown[1])
    assert not any(text.startswith("second") for text in shown[0])
    assert "single" not in texts(svg)
    assert size(svg)[1] == 2 * size(accuracy_cost_svg(scatter_of(tmp_path / "x", {"a": 2})))[1]


def test_groups_of_single_cells_have_panels_where_there_are_no_others(tmp_path):
    svg = accuracy_cost_svg(scatter_of(tmp_path, {"first": 1, "second": 1}))
    assert {"first", "second"} <= texts(svg)


def test_a_study_without_finished_run_has_a_message(tmp_path):
    scatter = Scatter(load_report(write_results(tmp_path, {("g", "a"): {}})))
    assert "No finished run with counted cost" in texts(accuracy_cost_svg(scatter))


def test_the_matrix_grows_with_names_and_cells(report):
    small = size(matrix_svg(matrix_of(report, "")))
    assert size(matrix_svg(matrix_of(report, "x" * 30)))[0] > small[0] + 200
    assert size(matrix_svg(matrix_of(report, "", count=12)))[1] > small[1] + 10 * 30


def test_matrix_has_measured_and_expected_values(matrix_report):
    shown = texts(matrix_svg(matrix_report.matrix))
    assert {"near", "far", "0001", "0010", "99.0", "40.0", "12.0", "–"} <= shown
    assert {"(≥ 95)", "(≤ 25) not met"} <= shown
