from xml.etree import ElementTree

import pytest

from quatrain.report.curves import Curve
from quatrain.report.page.lines import MOST_LABELS, POINTS, curves_svg, residuals_svg, spread
from quatrain.results.fit import fit


def curve(name="a", values=(2.0, 1.0)):
    return Curve("g", name, "loss", tuple(range(1, len(values) + 1)), tuple(values))


def texts(svg):
    return {"".join(node.itertext()) for node in ElementTree.fromstring(svg).iter()}


def test_each_curve_has_its_name_at_its_end(report):
    shown = texts(curves_svg([one for one in report.curves if one.group == "self"]))
    assert {"1111", "0110", "0010", "step", "loss"} <= shown


def test_names_that_do_not_fit_are_left_out():
    shown = texts(curves_svg([curve(f"cell {n}") for n in range(MOST_LABELS + 5)]))
    assert "cell 0" in shown
    assert f"cell {MOST_LABELS}" not in shown


def test_steep_start_of_a_curve_is_cut_off():
    values = (900.0, *(3.0 - step / 10 for step in range(1, 20)))
    shown = texts(curves_svg([curve(values=values)]))
    assert "2" in shown
    assert not {"200", "400", "800"} & shown


def test_long_curves_are_thinned_and_keep_their_end():
    svg = curves_svg([curve(values=[1 / step for step in range(1, 10_001)])])
    root = ElementTree.fromstring(svg)
    (line,) = (node for node in root.iter("polyline"))
    assert len(line.get("points").split()) <= 2 * POINTS
    assert "1e−04" not in line.get("points")


@pytest.mark.parametrize("values", [(1e100,), (0.0, 0.0), (-1e100, 1e100), (5.0,)])
def test_extreme_curves_are_drawn(values):
    ElementTree.fromstring(curves_svg([curve(values=values)]))


def test_labels_are_a_line_apart_and_within_bounds():
    assert spread([50, 50, 90], (0, 200)) == [50, 62, 90]
    assert spread([190, 195, 199], (0, 200)) == [176, 188, 200]
    assert spread([-5, 0], (0, 200)) == [0, 12]


def test_residuals_are_a_point_each():
    fitted = fit({"a": {0: 1.0, 1: 2.0}, "b": {0: 2.0, 1: 3.5}})
    root = ElementTree.fromstring(residuals_svg("g", fitted, "BLEU"))
    (dots,) = (node for node in root.iter("path"))
    assert dots.get("d").count("M") == 4
    assert root.get("aria-label") == "4 residuals of 2 cells in group g, by fitted value"
