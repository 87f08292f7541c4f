import itertools
import re
from xml.etree import ElementTree

import pytest

from quatrain.report.page.strips import GLYPHS, axis, bar, glyph, interval, percent_scale


def places(svg):
    return [float(value) for value in re.findall(r'="(-?[\d.]+)%"', svg)]


def test_an_interval_spans_its_bounds_and_zero():
    scale = percent_scale([1.0, 3.0])
    svg = interval(scale, 2.0, (1.0, 3.0), "higher", published=2.5)
    ElementTree.fromstring(svg)
    assert [pytest.approx(scale(x), abs=0.01) for x in (0, 0, 1, 3, 2.5, 2)] == places(svg)[1:]
    assert GLYPHS["higher"] in svg


def test_a_value_without_interval_is_its_shape_only():
    svg = interval(percent_scale([2.0]), 2.0, (None, None), "open")
    assert "bar" not in svg
    assert GLYPHS["open"] in svg


def test_a_second_interval_is_a_thin_bar_below():
    scale = percent_scale([1.0, 4.0])
    svg = ElementTree.fromstring(interval(scale, 2.0, (1.0, 3.0), "higher", thin=(1.5, 4.0)))
    lines = {line.get("class"): line for line in svg.iter("line")}
    assert float(lines["thin"].get("y1")) > float(lines["bar higher"].get("y1"))
    ends = [float(lines["thin"].get(end)[:-1]) for end in ("x1", "x2")]
    assert ends == [pytest.approx(scale(x), abs=0.01) for x in (1.5, 4.0)]


def test_bars_grow_from_zero_to_both_sides():
    scale = percent_scale([-1.0, 2.0])
    for value in (-1.0, 2.0):
        start, width = places(bar(scale, value))[1:3]
        assert start == pytest.approx(min(scale(0), scale(value)), abs=0.01)
        assert width == pytest.approx(abs(scale(value) - scale(0)), abs=0.01)


@pytest.mark.parametrize("values", [[0.0], [1e-9], [123456.0, -5.0], [1e100, -1e100]])
def test_labels_of_an_axis_do_not_touch(values):
    svg = axis(percent_scale(values))
    found = sorted(places(svg)[1:])
    assert found
    assert all(b - a > 5 for a, b in itertools.pairwise(found))


def test_each_verdict_has_a_shape_of_its_own():
    assert len({glyph(kind) for kind in GLYPHS}) == len(GLYPHS) == len({*GLYPHS.values()})
